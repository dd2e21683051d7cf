// ComputeService: the small service behind the API's `GET /process`, of which there may be many.
//
// The executable starts one `ComputeServiceProcess`; API processes balance over several of them and ask each how it is.
// It calls `HTTP` for its endpoints and `Roles` for what every role does alike. It keeps nothing, so it may be killed
// at any moment, and what it answers takes as long as it is told, so that people can see what a slow one does.
//
// What it computes is the method `process`; another endpoint is an `on` in `routes`.

public import Basics
public import Reactor

/// How a compute service runs.
public struct ComputeServiceConfiguration: Sendable {
  /// Its name in answers.
  public var name = "service-1"
  /// Where it listens.
  public var endpoints: [SocketAddress] = []
  /// How long it takes for each answer.
  public var delay = TimeSpan.milliseconds(0)
  /// Bytes of memory that the process may take: a quarter of it is for requests and answers in progress.
  public var memoryBytes = 256 << 20
  /// How long a stop waits for requests under way.
  var drain = TimeSpan.seconds(10 as UInt64)

  /// A service that listens nowhere yet.
  public init() {}
}
