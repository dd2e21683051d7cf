// Exchange: one request and its response, from head to end, as a pure machine.
//
// The balancer's `HTTP1Session` holds one and asks it what to do; it calls nobody, holds no bytes and knows no clock.
// What has happened goes in as a past-tense input, what is to be done comes out as a `Step`. The runner performs a
// step, and what comes of it is the next input: a failed effect is an event, never a call back into somebody who is in
// the middle of something.
//
//     awaitingHead ─► choosing ─► connecting ─► sending ─► responding ─► awaitingHead … or lingering ─► over
//          │             ⇅ └────────────▲──────────┘ retry
//          │          waiting           └ a kept connection
//          └─► local (the balancer's own endpoints)
//
// `RetryRules` says when a request may be sent again, `ExchangeTimes` until when what is awaited. A new state is a case
// of `Phase`, and every input says what becomes of it there; a new thing to do is a bit of `Step`.

public import Basics

/// One request after the other on a connection, and what becomes of each.
public struct Exchange: ~Copyable {
  /// Where a request is.
  public enum Phase: UInt8, CaseIterable, Sendable {
    /// Between requests, or within a head.
    case awaitingHead
    /// The head is understood; a backend is looked for.
    case choosing
    /// No backend has room or can be reached; it waits in a queue.
    case waiting
    /// A connection to the chosen backend is being made.
    case connecting
    /// The request goes to the backend; no final response has come.
    case sending
    /// The final response goes to the client.
    case responding
    /// The balancer answers by itself.
    case local
    /// The last answer is on its way; what the client still sends is dropped.
    case lingering
    /// The connection has ended.
    case over
  }

  struct Flags: OptionSet {
    let rawValue: UInt16
    /// The request's body was read to its end.
    static let requestEnded = Flags(rawValue: 1)
    /// The client does not take what is sent.
    static let clientBlocked = Flags(rawValue: 2)
    /// More of the request waits to be sent to the backend than may wait.
    static let requestBlocked = Flags(rawValue: 4)
    /// The client has ended its side.
    static let clientEnded = Flags(rawValue: 8)
    /// A part of the final response was sent.
    static let hasResponse = Flags(rawValue: 16)
    /// The backend has sent an interim response: it has seen the request.
    static let hasInterim = Flags(rawValue: 32)
    /// The link has carried a request before.
    static let linkIsReused = Flags(rawValue: 64)
    /// The backend lets its connection be used again.
    static let linkKeeps = Flags(rawValue: 128)
    /// The client was told that the connection ends.
    static let closeAnnounced = Flags(rawValue: 256)
    /// The balancer stops.
    static let draining = Flags(rawValue: 512)
    /// A backend was asked.
    static let attempted = Flags(rawValue: 1024)
    /// The backend was told that nobody waits for long.
    static let linkEnded = Flags(rawValue: 2048)
    /// What holds beyond a request.
    static let lasting: Flags = [.clientBlocked, .clientEnded, .draining]
  }

  /// Where the request is.
  public internal(set) var phase = Phase.awaitingHead
  /// How many attempts were retries that cost.
  var retriesPaid: UInt8 = 0
  /// How many were sent again of which bytes had left.
  var resends: UInt8 = 0
  /// What is wrong, once a step says `answer`; nothing for a local answer.
  public internal(set) var refusal: Refusal?
  var request = RequestFacts()
  var flags: Flags = []

  /// A connection that awaits its first request.
  public init() {}

  // MARK: What is wanted now

  /// Whether a head, or more of one, is to be read.
  public var readsHead: Bool { phase == .awaitingHead && !flags.contains(.clientBlocked) }

  /// Whether more of the request's body is to be read.
  public var readsBody: Bool {
    guard flags.isDisjoint(with: [.requestEnded, .requestBlocked]) else { return false }
    return phase != .awaitingHead && phase.rawValue < Phase.lingering.rawValue
  }

  /// Whether the response, or more of it, is to be read.
  public var readsResponse: Bool {
    (phase == .sending || phase == .responding) && !flags.contains(.clientBlocked)
  }

  /// Whether what the client sends is to be read and dropped.
  public var dropsInput: Bool { phase == .lingering && !flags.contains(.clientBlocked) }

  /// Whether a connection to a backend belongs to this request.
  var holdsLink: Bool { phase == .connecting || phase == .sending || phase == .responding }

  /// Whether a backend was asked already.
  public var wasAttempted: Bool { flags.contains(.attempted) }

  /// Whether a request is with a backend and not whole, and no more of it is read because the backend takes none.
  public var readsNothingOfRequest: Bool {
    (phase == .sending || phase == .responding) && flags.contains(.requestBlocked) && !flags.contains(.requestEnded)
  }

  /// Whether more of the request waits for the backend than may wait.
  public var isRequestBlocked: Bool { flags.contains(.requestBlocked) }

  /// Whether the client takes nothing of what is sent to it.
  public var isClientBlocked: Bool { flags.contains(.clientBlocked) }

  /// Whether the client has ended its side.
  public var hasClientEnded: Bool { flags.contains(.clientEnded) }

  // MARK: Deadlines

  /// Until when what this exchange awaits may take; the only place that says so.
  public func deadline(_ progress: ExchangeProgress, _ times: ExchangeTimes) -> MonotonicTime {
    switch phase {
    case .awaitingHead:
      if flags.contains(.clientBlocked) { return progress.pace.since + times.stall }
      return progress.hasPartialHead ? progress.startedAt + times.head : progress.since + times.idle
    case .choosing, .over: return .never
    case .waiting: return progress.queuedAt + times.queue
    case .connecting: return progress.since + times.connect
    case .sending, .responding, .local:
      if flags.contains(.clientBlocked) { return progress.pace.since + times.stall }
      if flags.contains(.requestBlocked) { return progress.since + times.taking }
      if flags.contains(.requestEnded) { return progress.since + times.response }
      return progress.pace.since + times.body
    case .lingering:
      if flags.contains(.clientBlocked) { return progress.pace.since + times.stall }
      return min(progress.since + times.lingerSilence, progress.startedAt + times.linger)
    }
  }
}
