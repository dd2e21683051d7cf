import Basics
@testable import Exchange

/// A client, backends and a clock that do whatever a seed makes them do, and a runner that performs the exchange's
/// steps against them. What it promises is checked as it goes; the first breach is kept.
struct Simulation: ~Copyable {
  /// A request as the client means it.
  private struct Request {
    let number: Int
    let isIdempotent: Bool
    let keepsAlive: Bool
    let isLocal: Bool
    var bodyLeft: Int
    /// How often a backend has read it.
    var readings = 0
    var answers = 0
  }

  /// One attempt to have a request done.
  private struct Attempt {
    let request: Int
    var isConnecting: Bool
    let isReused: Bool
    var isSettled = false
    /// Whether the backend's program has read the request.
    var hasRead = false
    var hasSent = false
    var hasInterim = false
    var hasHead = false
    /// Whether it was told that nobody waits for long.
    var isEnded = false
    var bodyLeft: Int
  }

  private var exchange = Exchange()
  private var random: SeededRandom
  private var requests: [Request] = []
  private var current = -1
  private var attempt: Attempt?
  private var clientBlocked = false
  private var clientGone = false
  private var clientEnded = false
  private var isClosed = false
  private var asksLocal = false
  private var inFlight = 0
  private var inLine = 0
  private var retriesGranted = 0
  private(set) var breach: String?
  /// What has happened, for whoever replays a seed.
  private(set) var story: [String] = []

  init(seed: UInt64) {
    random = SeededRandom(seed: seed)
  }

  private mutating func chance(_ percent: Int) -> Bool { random.next() % 100 < UInt64(percent) }

  private mutating func check(_ holds: Bool, _ promise: String) {
    if !holds, breach == nil { breach = promise }
  }

  /// Runs until the connection has ended, or says that it never would.
  mutating func run() {
    var turns = 0
    while !isClosed, breach == nil {
      turns += 1
      if turns > 600 { return check(false, "the exchange comes to an end") }
      // Towards the end nobody does anything any more but let time pass.
      if turns > 400 || !act() {
        story.append("deadline")
        perform(exchange.deadlinePassed(isHeadPartial: exchange.phase == .awaitingHead && chance(30)))
      }
      let isAwaited = exchange.phase == .sending && requests[current].bodyLeft <= 0
      check(
        !isAwaited || !exchange.hasClientEnded || attempt?.isEnded == true,
        "a backend that has the whole request knows that its client has ended its side")
    }
    check(inFlight == 0, "every request sent is settled once")
    check(inLine == 0, "nobody who has left waits in the line")
    check(attempt == nil, "every link is kept or closed")
    for request in requests {
      check(request.answers <= 1, "a request gets at most one answer")
      check(request.isIdempotent || request.readings <= 1, "what is not idempotent is done at most once")
    }
  }

  // MARK: What may happen

  /// Lets one thing happen that can happen now; false if nothing can, or time passes.
  private mutating func act() -> Bool {
    switch random.next() % 14 {
    case 0...2: return clientSends()
    case 3: return clientActs()
    case 4...6: return backendActs()
    case 7: return backendEnds()
    case 8:
      guard clientBlocked, !clientGone else { return false }
      clientBlocked = false
      story.append("client drained")
      perform(exchange.clientDrained())
    case 9:
      guard exchange.phase == .waiting else { return true }
      inLine -= 1
      story.append("turn came")
      perform(exchange.turnCame())
    case 10:
      guard asksLocal else { return true }
      asksLocal = false
      guard exchange.phase == .local else { return true }
      story.append("local answered")
      perform(exchange.localAnswered())
    case 11:
      guard chance(10) else { return true }
      story.append("drain")
      perform(exchange.drainOrdered(isQuiet: chance(50)))
    case 12: return !chance(20)
    default: return true
    }
    return true
  }

  private mutating func clientSends() -> Bool {
    if exchange.readsHead, !clientEnded {
      let facts = newRequest()
      story.append("head \(current) \(facts)")
      if chance(5) {
        perform(exchange.headMalformed())
        return true
      }
      perform(exchange.headReceived(facts))
    } else if exchange.readsBody, !clientEnded, current >= 0 {
      if chance(5) {
        story.append("body refused")
        perform(exchange.bodyRefused(.bodyMalformed))
        return true
      }
      requests[current].bodyLeft -= 1
      let isEnd = requests[current].bodyLeft <= 0
      story.append("body, end: \(isEnd)")
      _ = exchange.requestTaken(isBlocked: chance(20))
      perform(exchange.bodyReceived(isEnd: isEnd))
    }
    return true
  }

  private mutating func newRequest() -> RequestFacts {
    let body = chance(40) ? Int(random.next() % 4) : 0
    current = requests.count
    requests.append(
      Request(
        number: current, isIdempotent: chance(50), keepsAlive: chance(80), isLocal: chance(10), bodyLeft: body))
    var facts = RequestFacts()
    facts.isIdempotent = requests[current].isIdempotent
    facts.keepsAlive = requests[current].keepsAlive
    facts.isLocal = requests[current].isLocal
    facts.isWhole = body == 0
    facts.isUnlimited = chance(10)
    facts.isBodyMalformed = body > 0 && chance(5)
    facts.awaitsInvitation = chance(20)
    return facts
  }

  private mutating func clientActs() -> Bool {
    guard chance(15) else { return true }
    if chance(50), !clientEnded {
      clientEnded = true
      story.append("client ended")
      perform(exchange.clientEnded())
    } else {
      clientGone = true
      story.append("client left")
      perform(exchange.clientLeft())
    }
    return true
  }

  private mutating func backendActs() -> Bool {
    guard var attempt, exchange.holdsLink else { return true }
    if attempt.isConnecting {
      attempt.isConnecting = false
      self.attempt = attempt
      let isMade = chance(70)
      story.append("connected: \(isMade)")
      perform(isMade ? exchange.connected() : exchange.connectFailed())
      return true
    }
    if !exchange.readsResponse {
      story.append("backend takes")
      perform(exchange.requestTaken(isBlocked: false))
      return true
    }
    guard attempt.hasSent else { return true }
    if !attempt.hasRead {
      attempt.hasRead = true
      requests[attempt.request].readings += 1
      story.append("backend reads")
      self.attempt = attempt
      return true
    }
    return respond(attempt)
  }

  private mutating func respond(_ given: Attempt) -> Bool {
    var attempt = given
    if !attempt.hasHead, chance(15) {
      attempt.hasInterim = true
      self.attempt = attempt
      story.append("interim")
      perform(exchange.interimReceived())
    } else if chance(8) {
      story.append("malformed response")
      if !attempt.hasHead, chance(50) { _ = exchange.responseHeadReceived(keepsLink: true, endsWithConnection: false) }
      perform(exchange.responseMalformed())
    } else {
      if !attempt.hasHead {
        attempt.hasHead = true
        story.append("response head")
        _ = exchange.responseHeadReceived(keepsLink: chance(80), endsWithConnection: chance(10))
      }
      attempt.bodyLeft -= 1
      self.attempt = attempt
      let isEnd = attempt.bodyLeft <= 0
      story.append("response, end: \(isEnd)")
      let request = attempt.request
      if isEnd { requests[request].answers += 1 }
      check(request == current, "a response answers the request that it was given for")
      perform(exchange.responseReceived(isEnd: isEnd, isLinkClean: chance(80)))
    }
    return true
  }

  /// The link ends, and the kernel tells no more than what is true.
  private mutating func backendEnds() -> Bool {
    guard let attempt, !attempt.isConnecting, exchange.readsResponse, chance(40) else { return true }
    var truths: [Delivery] = [.unknown]
    if !attempt.hasSent { truths = [.nothingSent] }
    if attempt.hasSent, !attempt.hasRead { truths += [.unacknowledged, .resetWhole] }
    let delivery = truths[Int(random.next() % UInt64(truths.count))]
    // Who had read it may have done it before it ended.
    story.append("backend ended: \(delivery)")
    perform(exchange.upstreamEnded(delivery, isReplayable: chance(85)))
    return true
  }

  // MARK: The runner

  private mutating func perform(_ first: Step) {
    var step = first
    while !step.isEmpty, breach == nil {
      settle(step)
      if !step.isDisjoint(with: [.relay, .answer]) {
        if step.contains(.answer) {
          if exchange.refusal != .headMalformed, exchange.refusal != .headTimedOut, current >= 0 {
            requests[current].answers += 1
          }
          check(step.contains(.nextHead) || step.contains(.linger), "an answer goes on or ends")
        }
        switch random.next() % 12 {
        case 0:
          story.append("the client's connection breaks")
          step = exchange.clientLeft()
          continue
        case 1, 2:
          clientBlocked = true
          exchange.clientBlocked()
        default: break
        }
      }
      step = goOn(step)
    }
  }

  private mutating func goOn(_ step: Step) -> Step {
    if step.contains(.forward) {
      guard var attempt else { return [] }
      if chance(80) { attempt.hasSent = true }
      self.attempt = attempt
      return exchange.requestTaken(isBlocked: chance(15))
    }
    if step.contains(.limit) { return exchange.limitDecided(isAllowed: chance(90)) }
    if step.contains(.choose) { return choose() }
    if step.contains(.spendRetry) {
      let isGranted = chance(70)
      if isGranted { retriesGranted += 1 }
      check(exchange.retriesPaid < RetryRules.retriesPaidMax, "retries that cost are bounded")
      return exchange.retryDecided(isGranted: isGranted)
    }
    if step.contains(.enqueue) { inLine += 1 }
    if step.contains(.endLink) {
      check(attempt?.isEnded == false && requests[current].bodyLeft <= 0, "a link ends once, behind a whole request")
      attempt?.isEnded = true
    }
    if step.contains(.askLocal) { asksLocal = true }
    if step.contains(.invite) { check(exchange.readsBody, "only a body that is awaited is invited") }
    if step.contains(.nextHead) { asksLocal = false }
    if step.contains(.linger) {
      asksLocal = false
      return exchange.hasClientEnded && !clientBlocked ? exchange.clientEnded() : []
    }
    if step.contains(.close) {
      check(exchange.phase == .over, "only what is over is closed")
      isClosed = true
    }
    return []
  }

  private mutating func choose() -> Step {
    check(attempt == nil, "a link is looked for only while there is none")
    guard chance(85) else { return exchange.noBackendChosen(queuedFor: nil, hasQueueRoom: chance(70), ExchangeTimes()) }
    switch random.next() % 12 {
    case 0: return exchange.resourcesLacked()
    case 1:
      inFlight += 1
      return exchange.connectFailed()
    case 2:
      inFlight += 1
      return exchange.connectDeferred()
    default:
      inFlight += 1
      let isReused = chance(50)
      let isConnecting = !isReused && chance(50)
      attempt = Attempt(
        request: current, isConnecting: isConnecting, isReused: isReused, bodyLeft: Int(random.next() % 4))
      return exchange.backendChosen(isConnected: !isConnecting, isReused: isReused)
    }
  }

  private mutating func settle(_ step: Step) {
    let accounts = [Step.credit, .blame, .excuse].filter { step.contains($0) }.count
    check(accounts <= 1, "a request is settled in one way")
    if accounts == 1 {
      inFlight -= 1
      check(inFlight == 0, "a request is settled once, and only one that was sent")
    }
    if !step.isDisjoint(with: [.keepLink, .closeLink]) {
      check(accounts == 1, "a link is never left with an account open")
      check(!step.contains(.keepLink) || step.contains(.credit), "only a link that has answered is kept")
      check(!step.contains(.keepLink) || attempt?.isEnded != true, "a link whose writing side has ended is not kept")
      attempt = nil
    }
    if step.contains(.dequeue) { inLine -= 1 }
  }
}
