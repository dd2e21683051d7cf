public import Basics

/// How long an exchange waits for each thing.
public struct ExchangeTimes: Sendable {
  /// How long a client may be silent between requests.
  public var idle = TimeSpan.seconds(60 as UInt64)
  /// How long a head may take from its first byte; further bytes do not extend it.
  public var head = TimeSpan.seconds(10 as UInt64)
  /// How long each step of `Pace` of a body may take, or what is left of it.
  public var body = TimeSpan.seconds(10 as UInt64)
  /// How long a request waits for a backend that can take it, in all.
  public var queue = TimeSpan.seconds(1 as UInt64)
  /// How long a connection to a backend may take.
  public var connect = TimeSpan.seconds(1 as UInt64)
  /// How long a backend may take nothing of a request that is being sent to it.
  public var taking = TimeSpan.seconds(10 as UInt64)
  /// How long a backend may think before its response begins, and pause within it.
  public var response = TimeSpan.seconds(60 as UInt64)
  /// How long a client may take for each step of `Pace` of what is sent to it, or for the rest.
  public var stall = TimeSpan.seconds(30 as UInt64)
  /// How long, after the last answer, a client may be silent before the connection is closed (RFC 9112 §9.6).
  public var lingerSilence = TimeSpan.seconds(2 as UInt64)
  /// How long what a client still sends after the last answer is read at the most.
  public var linger = TimeSpan.seconds(30 as UInt64)

  /// The times above.
  public init() {}
}

/// When an exchange has last come forward; its runner writes it down.
public struct ExchangeProgress: Sendable {
  /// When the head's first byte was there; while the connection lingers, when its last answer was whole.
  public var startedAt = MonotonicTime(nanoseconds: 0)
  /// When a phase began, or a peer last gave or took something that is waited for.
  public var since = MonotonicTime(nanoseconds: 0)
  /// When the request first had to wait for a backend.
  public var queuedAt = MonotonicTime(nanoseconds: 0)
  /// How the client gives its body; while it does not take what is sent: how it takes that.
  public var pace = Pace(from: MonotonicTime(nanoseconds: 0))
  /// Whether a part of a head has come.
  public var hasPartialHead = false

  /// No progress yet.
  public init() {}
}
