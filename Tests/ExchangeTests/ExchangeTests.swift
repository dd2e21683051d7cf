import Basics
@testable import Exchange
import Testing

@Suite("Exchange", .timeLimit(.minutes(5))) struct ExchangeTests {
  private static func facts(
    idempotent: Bool = true, keeps: Bool = true, whole: Bool = true, local: Bool = false
  ) -> RequestFacts {
    var facts = RequestFacts()
    facts.isIdempotent = idempotent
    facts.keepsAlive = keeps
    facts.isWhole = whole
    facts.isLocal = local
    return facts
  }

  /// An exchange whose request is with a backend.
  private static func sent(_ facts: RequestFacts, isReused: Bool = false) -> Exchange {
    var exchange = Exchange()
    #expect(exchange.headReceived(facts) == .limit)
    #expect(exchange.limitDecided(isAllowed: true) == .choose)
    #expect(exchange.backendChosen(isConnected: true, isReused: isReused) == .forward)
    return exchange
  }

  @Test("a request and its response leave both connections ready for the next ones") func plainRequest() {
    var exchange = Self.sent(Self.facts())
    #expect(exchange.responseHeadReceived(keepsLink: true, endsWithConnection: false) == [])
    #expect(exchange.responseReceived(isEnd: false, isLinkClean: false) == .relay)
    #expect(exchange.responseReceived(isEnd: true, isLinkClean: true) == [.relay, .credit, .keepLink, .nextHead])
    #expect(exchange.phase == .awaitingHead)
  }

  @Test("an answer before the body's end ends both connections") func earlyAnswer() {
    var exchange = Self.sent(Self.facts(idempotent: false, whole: false))
    #expect(exchange.readsBody && exchange.readsResponse)
    #expect(exchange.responseHeadReceived(keepsLink: true, endsWithConnection: false) == .announceClose)
    #expect(exchange.responseReceived(isEnd: true, isLinkClean: true) == [.relay, .credit, .closeLink, .linger])
    #expect(exchange.phase == .lingering && exchange.dropsInput)
  }

  @Test("a backend learns once that the client has ended its side, and its link is not kept") func endedClient() {
    var exchange = Self.sent(Self.facts())
    #expect(exchange.requestTaken(isBlocked: false) == [])
    #expect(exchange.clientEnded() == .endLink)
    #expect(exchange.requestTaken(isBlocked: false) == [] && exchange.drainOrdered(isQuiet: true) == [])
    _ = exchange.responseHeadReceived(keepsLink: true, endsWithConnection: false)
    #expect(exchange.responseReceived(isEnd: true, isLinkClean: true) == [.relay, .credit, .closeLink, .linger])
    // Before a link is there, nothing can be told; then it is told behind the request, and another backend anew.
    var early = Exchange()
    _ = early.headReceived(Self.facts())
    _ = early.limitDecided(isAllowed: true)
    #expect(early.clientEnded() == [])
    _ = early.backendChosen(isConnected: true, isReused: false)
    #expect(early.requestTaken(isBlocked: false) == .endLink)
    #expect(early.upstreamEnded(.nothingSent, isReplayable: true).contains(.choose))
    _ = early.backendChosen(isConnected: true, isReused: false)
    #expect(early.requestTaken(isBlocked: false) == .endLink)
  }

  @Test("nothing follows a connection that is not clean, and a drained one is not kept") func uncleanLinks() {
    var exchange = Self.sent(Self.facts())
    _ = exchange.responseHeadReceived(keepsLink: true, endsWithConnection: false)
    #expect(exchange.responseReceived(isEnd: true, isLinkClean: false).contains(.closeLink))
    var draining = Self.sent(Self.facts())
    #expect(draining.drainOrdered(isQuiet: true) == .endLink)
    #expect(draining.responseHeadReceived(keepsLink: true, endsWithConnection: false) == .announceClose)
    #expect(draining.responseReceived(isEnd: true, isLinkClean: true) == [.relay, .credit, .closeLink, .linger])
  }

  @Test("what the limiter does not count goes to a backend without having asked it") func unlimited() {
    var exchange = Exchange()
    var facts = Self.facts()
    facts.isUnlimited = true
    #expect(exchange.headReceived(facts) == .choose)
    var malformed = Exchange()
    facts.isBodyMalformed = true
    #expect(malformed.headReceived(facts).contains(.answer) && malformed.refusal == .bodyMalformed)
  }

  @Test("a refused connection goes to another backend free of charge, for as long as there is one") func refused() {
    var exchange = Exchange()
    _ = exchange.headReceived(Self.facts(idempotent: false))
    _ = exchange.limitDecided(isAllowed: true)
    for _ in 0..<20 {
      #expect(exchange.backendChosen(isConnected: false, isReused: false) == [])
      #expect(exchange.connectFailed() == [.blame, .lost, .closeLink, .replay, .exclude, .choose])
    }
    #expect(exchange.noBackendChosen(queuedFor: nil, hasQueueRoom: true, ExchangeTimes()) == .enqueue)
    #expect(exchange.turnCame() == .choose)
    #expect(
      exchange.noBackendChosen(queuedFor: .seconds(2 as UInt64), hasQueueRoom: true, ExchangeTimes()) == [
        .answer, .nextHead,
      ])
    #expect(exchange.refusal == .noBackend)
  }

  @Test("what a kept connection did not deliver is not the backend's fault") func staleLinks() {
    for delivery in [Delivery.nothingSent, .unacknowledged, .resetWhole] {
      var exchange = Self.sent(Self.facts(idempotent: false), isReused: true)
      #expect(
        exchange.upstreamEnded(delivery, isReplayable: true) == [.excuse, .closeLink, .replay, .renew, .choose])
    }
    var exchange = Self.sent(Self.facts(idempotent: false), isReused: true)
    #expect(
      exchange.upstreamEnded(.unknown, isReplayable: true) == [.blame, .lost, .closeLink, .answer, .nextHead])
    #expect(exchange.refusal == .backendFailed)
  }

  @Test("what is said to be unread is sent again a few times, not for ever") func boundedResends() {
    var exchange = Self.sent(Self.facts(idempotent: false))
    for _ in 0..<RetryRules.resendsMax {
      #expect(exchange.upstreamEnded(.resetWhole, isReplayable: true).contains(.choose))
      _ = exchange.backendChosen(isConnected: true, isReused: false)
    }
    #expect(exchange.upstreamEnded(.resetWhole, isReplayable: true).contains(.answer))
  }

  @Test("what may have been read costs a retry, and at most two are paid for") func costlyRetries() {
    var exchange = Self.sent(Self.facts())
    for _ in 0..<2 {
      #expect(
        exchange.upstreamEnded(.unknown, isReplayable: true)
          == [.blame, .lost, .closeLink, .replay, .exclude, .spendRetry])
      #expect(exchange.retryDecided(isGranted: true) == .choose)
      _ = exchange.backendChosen(isConnected: true, isReused: false)
    }
    #expect(exchange.upstreamEnded(.unknown, isReplayable: true) == [.blame, .lost, .closeLink, .answer, .nextHead])
    var broke = Self.sent(Self.facts())
    _ = broke.upstreamEnded(.unknown, isReplayable: true)
    #expect(broke.retryDecided(isGranted: false) == [.answer, .nextHead])
  }

  @Test("attempts that were free leave those that cost untouched") func freeAttemptsCostNothing() {
    var exchange = Exchange()
    _ = exchange.headReceived(Self.facts())
    _ = exchange.limitDecided(isAllowed: true)
    for _ in 0..<4 {
      _ = exchange.backendChosen(isConnected: false, isReused: false)
      _ = exchange.connectFailed()
    }
    _ = exchange.backendChosen(isConnected: true, isReused: false)
    #expect(exchange.upstreamEnded(.unknown, isReplayable: true).contains(.spendRetry))
  }

  @Test("a backend that has said anything keeps the request") func acknowledged() {
    var exchange = Self.sent(Self.facts())
    #expect(exchange.interimReceived() == .relay)
    #expect(exchange.upstreamEnded(.nothingSent, isReplayable: true).contains(.answer))
    var broken = Self.sent(Self.facts())
    _ = broken.responseHeadReceived(keepsLink: true, endsWithConnection: false)
    #expect(broken.responseMalformed() == [.blame, .closeLink, .answer, .nextHead])
    #expect(broken.refusal == .backendMalformed)
    var cut = Self.sent(Self.facts())
    _ = cut.responseHeadReceived(keepsLink: true, endsWithConnection: false)
    _ = cut.responseReceived(isEnd: false, isLinkClean: false)
    #expect(cut.upstreamEnded(.unknown, isReplayable: true) == [.blame, .lost, .closeLink, .close])
  }

  @Test("the retry table: only what nobody has read is free, only what is idempotent is repeated otherwise")
  func retryTable() {
    for isIdempotent in [true, false] {
      for delivery in Delivery.allCases {
        let answered = RetryRules.verdict(isIdempotent: isIdempotent, stage: .acknowledged, delivery: delivery)
        #expect(answered == .never)
        let verdict = RetryRules.verdict(isIdempotent: isIdempotent, stage: .unanswered, delivery: delivery)
        #expect(verdict == (delivery.isUnread ? .free : isIdempotent ? .costly : .never))
      }
    }
  }

  @Test("a client that ends its side within a body takes the request back, behind it it still gets its answer")
  func halfClosedClients() {
    var within = Self.sent(Self.facts(idempotent: false, whole: false))
    #expect(within.clientEnded() == [.excuse, .closeLink, .close])
    var behind = Self.sent(Self.facts())
    #expect(behind.clientEnded() == .endLink)
    _ = behind.responseHeadReceived(keepsLink: true, endsWithConnection: false)
    #expect(behind.responseReceived(isEnd: true, isLinkClean: true).contains(.relay))
    #expect(behind.clientEnded() == .close)
  }

  @Test("each deadline is met by the answer that names who was waited for") func deadlines() {
    var head = Exchange()
    #expect(head.deadlinePassed(isHeadPartial: true) == [.answer, .linger])
    #expect(head.refusal == .headTimedOut)
    var idle = Exchange()
    #expect(idle.deadlinePassed(isHeadPartial: false) == .close)
    var blocked = Exchange()
    blocked.clientBlocked()
    #expect(blocked.deadlinePassed(isHeadPartial: true) == .close)
    var body = Self.sent(Self.facts(whole: false))
    #expect(body.deadlinePassed(isHeadPartial: false) == [.excuse, .closeLink, .answer, .linger])
    #expect(body.refusal == .bodyTimedOut)
    var full = Self.sent(Self.facts(whole: false))
    _ = full.requestTaken(isBlocked: true)
    #expect(full.deadlinePassed(isHeadPartial: false) == [.blame, .closeLink, .answer, .linger])
    #expect(full.refusal == .responseTimedOut)
    var slow = Self.sent(Self.facts())
    _ = slow.responseHeadReceived(keepsLink: true, endsWithConnection: false)
    _ = slow.responseReceived(isEnd: false, isLinkClean: false)
    slow.clientBlocked()
    #expect(slow.deadlinePassed(isHeadPartial: false) == [.excuse, .closeLink, .close])
    var connecting = Exchange()
    _ = connecting.headReceived(Self.facts())
    _ = connecting.limitDecided(isAllowed: true)
    _ = connecting.backendChosen(isConnected: false, isReused: false)
    #expect(connecting.deadlinePassed(isHeadPartial: false).contains(.choose))
  }

  @Test("one function says until when: by phase, by who is waited for, and never past a head's or a body's own time")
  func deadlineFunction() {
    let times = ExchangeTimes()
    var progress = ExchangeProgress()
    progress.startedAt = MonotonicTime(nanoseconds: 1_000)
    progress.since = MonotonicTime(nanoseconds: 5_000_000_000)
    let idle = Exchange()
    #expect(idle.deadline(progress, times) == progress.since + times.idle)
    progress.hasPartialHead = true
    #expect(idle.deadline(progress, times) == progress.startedAt + times.head)
    var body = Self.sent(Self.facts(whole: false))
    progress.pace = Pace(from: MonotonicTime(nanoseconds: 7_000_000_000))
    #expect(body.deadline(progress, times) == progress.pace.since + times.body)
    _ = body.requestTaken(isBlocked: true)
    #expect(body.deadline(progress, times) == progress.since + times.taking)
    body.clientBlocked()
    #expect(body.deadline(progress, times) == progress.pace.since + times.stall)
    // Behind the last answer: silence, but not for ever, counted from when it was whole.
    var lingering = Exchange()
    #expect(lingering.headMalformed() == [.answer, .linger])
    #expect(lingering.deadline(progress, times) == progress.since + times.lingerSilence)
    progress.since = progress.startedAt + times.linger
    #expect(lingering.deadline(progress, times) == progress.startedAt + times.linger)
  }
}
