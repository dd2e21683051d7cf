public import Basics

/// What a process is told of its backends.
public struct BackendPlan: Sendable {
  /// The servers.
  public var backends: [BackendAddress]
  /// Names that lead to further ones.
  public var names: [BackendName]
  /// Requests that one of them may have in flight.
  public var inFlightMax = Int.max
  /// The path that tells whether a backend is well.
  public var healthPath = "/health"
  /// The same of a server of keys: it is ours, and says there how many partitions its store has.
  static let keyServerHealthPath = "/health"
  /// How often it is asked, from one question to the next: with the time to answer and two failures in a row, one that
  /// is frozen is left out after three seconds at most.
  public var healthInterval = TimeSpan.seconds(1 as UInt64)
  /// How long it may take to answer.
  public var healthTimeout = TimeSpan.seconds(1 as UInt64)
  /// What is wrong with the body that answered a check of a server of this purpose, nil if nothing is.
  public var complaint: @Sendable (BackendPurpose, [UInt8]) -> String? = { _, _ in nil }
  /// How often names are looked up, from one question to the next.
  public var lookUpInterval = TimeSpan.seconds(2 as UInt64)
  /// Who asks, for the backends' own logs.
  public var agent: String
  /// What the names of all metrics begin with: `millrace_balancer`.
  public var metricsPrefix: String

  /// A plan for `backends`, and what `names` lead to.
  public init(_ backends: [BackendAddress], names: [BackendName] = [], agent: String, metricsPrefix: String) {
    self.backends = backends
    self.names = names
    self.agent = agent
    self.metricsPrefix = metricsPrefix
  }

  func healthPath(of purpose: BackendPurpose) -> String {
    purpose == .keys ? BackendPlan.keyServerHealthPath : healthPath
  }
}
