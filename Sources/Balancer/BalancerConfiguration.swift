public import Backends
public import Balancing
import Basics
public import Exchange
public import Reactor
public import Tokens

/// What a balancer does; the executable fills it from flags and environment.
public struct BalancerConfiguration: Sendable {
  /// Bytes that this process may take in all; a quarter of it is for requests and responses that somebody does not
  /// take.
  public var memoryBytes = 256 << 20
  /// Where clients connect.
  public var listen: SocketAddress
  /// Event loops, each with a listener of its own, 1 to 64.
  public var reactors = 1
  /// The servers.
  public var backends: [BackendAddress]
  /// Names that lead to further ones.
  public var names: [BackendName] = []
  /// How many partitions the keys are in, 1 to 64, if there are servers of keys among `backends`; that is up to the
  /// store.
  public var partitions = 8
  /// How one is chosen; can be changed while running.
  public var strategy = Strategy.roundRobin
  /// Requests that an address may send in a window; 0 for no limit.
  public var rateLimitRequests = 100
  /// The length of that window in seconds.
  public var rateLimitWindowSeconds = 60
  /// The path that tells whether a backend is well.
  public var healthPath = "/health"
  /// How often it is asked, from one question to the next: with the time to answer and two failures in a row, one that
  /// is frozen is left out after three seconds at most.
  var healthInterval = TimeSpan.seconds(1 as UInt64)
  /// How long it may take to answer.
  var healthTimeout = TimeSpan.seconds(1 as UInt64)
  /// How often names are looked up, from one question to the next.
  var lookUpInterval = TimeSpan.seconds(2 as UInt64)
  /// Whether answers name the backend in `X-LB-Backend`.
  public var exposesBackend = false
  /// The token that allows what changes or reveals the system; without one nobody has it.
  public var adminToken: String?
  /// What believes tokens, of which those with the scope `admin` allow the same; nil believes none.
  public var tokens: TokenAuthority?
  /// Whether requests from the loopback address that were not forwarded are allowed as much.
  public var trustsLoopback = false
  /// Requests that one backend may have in flight; further ones wait.
  public var backendInFlightMax = Int.max
  /// What the balancer calls itself in a `Via` field on requests (RFC 9110 §7.6.3); without a name there is none.
  public var viaName: String?
  /// How long exchanges wait for each thing.
  public var times = ExchangeTimes()
  /// Client connections of one reactor.
  var clientsMax = BalancerLimits.clientsMax
  /// Connections to backends of one reactor.
  var linksMax = BalancerLimits.clientsMax

  /// A balancer that listens on `listen` for `backends`.
  public init(listen: SocketAddress, backends: [BackendAddress]) {
    self.listen = listen
    self.backends = backends
  }
}
