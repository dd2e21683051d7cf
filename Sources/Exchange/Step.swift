/// What a runner is to do, any number of things at once. It settles the link first, then sends what the client gets,
/// and then does whatever leads to the next input.
public struct Step: OptionSet, Equatable, Sendable {
  /// A bit for each thing to do.
  public let rawValue: UInt32

  /// The things with the bits of `rawValue`.
  @inlinable
  public init(rawValue: UInt32) {
    self.rawValue = rawValue
  }

  // The link and the backend.

  /// The backend has answered: its time counts.
  public static let credit = Step(rawValue: 1 << 0)
  /// The backend has failed.
  public static let blame = Step(rawValue: 1 << 1)
  /// With `blame`: it was its connection that was lost, which a restart explains and a passing check ends.
  public static let lost = Step(rawValue: 1 << 21)
  /// The request left the backend for a reason that says nothing about it.
  public static let excuse = Step(rawValue: 1 << 2)
  /// The link goes to the pool.
  public static let keepLink = Step(rawValue: 1 << 3)
  /// The link is closed.
  public static let closeLink = Step(rawValue: 1 << 4)
  /// This backend is not chosen again for this request while there are others.
  public static let exclude = Step(rawValue: 1 << 5)
  /// The next link is a fresh one: kept ones may have been closed together.
  public static let renew = Step(rawValue: 1 << 6)
  /// The request is sent from its first byte again.
  public static let replay = Step(rawValue: 1 << 7)
  /// It leaves the queue.
  public static let dequeue = Step(rawValue: 1 << 8)

  // The client.

  /// What stands ready of the response goes to the client.
  public static let relay = Step(rawValue: 1 << 9)
  /// The client gets an answer of the balancer's own.
  public static let answer = Step(rawValue: 1 << 10)
  /// The client is told to go on with its body.
  public static let invite = Step(rawValue: 1 << 22)
  /// The response says that the connection ends.
  public static let announceClose = Step(rawValue: 1 << 11)

  // What leads to the next input.

  /// The limiter is asked.
  public static let limit = Step(rawValue: 1 << 12)
  /// A backend is looked for.
  public static let choose = Step(rawValue: 1 << 13)
  /// The retry budget is asked.
  public static let spendRetry = Step(rawValue: 1 << 14)
  /// It waits in the queue for a backend.
  public static let enqueue = Step(rawValue: 1 << 15)
  /// What waits of the request goes to the backend.
  public static let forward = Step(rawValue: 1 << 16)
  /// The balancer's own endpoint is asked.
  public static let askLocal = Step(rawValue: 1 << 17)
  /// The backend is told, as soon as it has the whole request, that nobody waits any longer than for what it can say
  /// now: the link's writing side ends.
  public static let endLink = Step(rawValue: 1 << 23)
  /// The next request is awaited.
  public static let nextHead = Step(rawValue: 1 << 18)
  /// The client is told that this was all, and what it still sends is dropped for a while (RFC 9112 §9.6).
  public static let linger = Step(rawValue: 1 << 19)
  /// The client's connection ends at once.
  public static let close = Step(rawValue: 1 << 20)

  /// Everything that concerns the link and the backend.
  public static let linkWork: Step = [
    .credit, .blame, .lost, .excuse, .keepLink, .closeLink, .exclude, .renew, .replay, .dequeue,
  ]
}
