/// What several inputs lead to.
extension Exchange {
  mutating func begin() {
    flags.formIntersection(.lasting)
    retriesPaid = 0
    resends = 0
    refusal = nil
  }

  /// There is no request, or none that could be read: an answer must not go by the one before.
  mutating func forgetRequest() {
    request = RequestFacts()
    begin()
    flags.insert(.requestEnded)
  }

  /// The backend has not answered at all: sends the request again if that is allowed.
  mutating func failed(_ delivery: Delivery, isReplayable: Bool, otherwise reason: Refusal) -> Step {
    let hasInterim = flags.contains(.hasInterim)
    let verdict = RetryRules.verdict(
      isIdempotent: request.isIdempotent, stage: hasInterim ? .acknowledged : .unanswered, delivery: delivery)
    // A kept connection that the backend had closed says nothing bad about the backend.
    let isStale = flags.contains(.linkIsReused) && delivery.isUnread && verdict == .free
    let step: Step = isStale ? [.excuse, .closeLink] : [.blame, .lost, .closeLink]
    flags.remove(.requestBlocked)
    guard isReplayable, verdict != .never else { return step.union(refuse(reason)) }
    if delivery != .nothingSent {
      guard resends < RetryRules.resendsMax else { return step.union(refuse(reason)) }
      resends += 1
    }
    phase = .choosing
    if verdict == .free { return step.union(isStale ? [.replay, .renew, .choose] : [.replay, .exclude, .choose]) }
    guard retriesPaid < RetryRules.retriesPaidMax else { return step.union(refuse(reason)) }
    return step.union([.replay, .exclude, .spendRetry])
  }

  /// Tells the backend once that nobody waits for long, if nobody does and it has not begun to answer.
  @inline(__always)
  mutating func endLink() -> Step {
    if flags.isDisjoint(with: [.clientEnded, .draining]) { return [] }
    guard phase == .sending, flags.contains(.requestEnded), !flags.contains(.linkEnded) else { return [] }
    flags.insert(.linkEnded)
    return .endLink
  }

  /// Ends the link because of the backend.
  func lose() -> Step { [.blame, .closeLink] }

  /// Ends the link, or the wait for one, for a reason that says nothing about the backend.
  func abandon() -> Step {
    if holdsLink { return [.excuse, .closeLink] }
    return phase == .waiting ? .dequeue : []
  }

  mutating func refuse(_ reason: Refusal) -> Step {
    refusal = reason
    if reason.endsConnection { request.keepsAlive = false }
    return goOn(.answer)
  }

  /// The whole answer is at hand: goes on with the next request, or ends.
  mutating func goOn(_ step: Step) -> Step {
    let keeps =
      request.keepsAlive && flags.contains(.requestEnded)
      && flags.isDisjoint(with: [.draining, .closeAnnounced, .clientEnded])
    phase = keeps ? .awaitingHead : .lingering
    return step.union(keeps ? .nextHead : .linger)
  }

  mutating func close() -> Step {
    phase = .over
    return .close
  }

  func require(_ isPossible: Bool, _ input: StaticString) {
    if !isPossible { impossible(input) }
  }

  func impossible(_ input: StaticString) -> Never {
    preconditionFailure("the exchange was told \(input) while \(phase)")
  }
}
