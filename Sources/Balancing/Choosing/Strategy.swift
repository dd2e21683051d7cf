/// How a backend is chosen for a request.
public enum Strategy: String, CaseIterable, Sendable {
  /// One after the other.
  case roundRobin = "round_robin"
  /// One after the other, each as often as its weight says, spread as evenly as can be.
  case weighted
  /// The one with the fewest requests in flight for its weight.
  case leastConnections = "least_connections"
  /// The better of two random ones by requests in flight and latency.
  case powerOfTwo = "power_of_two"
  /// The one that a hash of the request's key falls to; stays the same while others come and go.
  case consistentHash = "consistent_hash"

  /// The strategy called `name`, words parted by `_` or `-`, in either case; nil if there is none.
  public init?(name: String) {
    self.init(rawValue: name.lowercased().replacing("-", with: "_"))
  }

  /// All names, for help and errors.
  public static var names: [String] { allCases.map(\.rawValue) }

  /// A small number for each, to be kept in an atomic.
  public var number: Int {
    switch self {
    case .roundRobin: 0
    case .weighted: 1
    case .leastConnections: 2
    case .powerOfTwo: 3
    case .consistentHash: 4
    }
  }

  /// The strategy with `number`; round robin for any other.
  public init(number: Int) {
    switch number {
    case 1: self = .weighted
    case 2: self = .leastConnections
    case 3: self = .powerOfTwo
    case 4: self = .consistentHash
    default: self = .roundRobin
    }
  }
}
