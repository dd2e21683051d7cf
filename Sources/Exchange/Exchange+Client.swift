/// What the client does: its request, and its leaving.
extension Exchange {
  // MARK: The request

  /// A head was read and understood; with it as much of the body as had come.
  public mutating func headReceived(_ facts: RequestFacts) -> Step {
    require(phase == .awaitingHead, "headReceived")
    request = facts
    begin()
    if facts.isWhole { flags.insert(.requestEnded) }
    guard facts.isLocal else {
      phase = .choosing
      return facts.isUnlimited ? limitDecided(isAllowed: true) : .limit
    }
    phase = .local
    if facts.isBodyMalformed { return refuse(.bodyMalformed) }
    if facts.isWhole { return .askLocal }
    // A backend invites the client itself.
    return facts.awaitsInvitation ? .invite : []
  }

  /// What was read is no head.
  public mutating func headMalformed() -> Step {
    require(phase == .awaitingHead, "headMalformed")
    forgetRequest()
    return refuse(.headMalformed)
  }

  /// The limiter has spoken.
  public mutating func limitDecided(isAllowed: Bool) -> Step {
    require(phase == .choosing, "limitDecided")
    guard isAllowed else { return refuse(.limited) }
    return request.isBodyMalformed ? refuse(.bodyMalformed) : .choose
  }

  /// More of the body was read and is kept for the backend, or for the local answer.
  public mutating func bodyReceived(isEnd: Bool) -> Step {
    if isEnd { flags.insert(.requestEnded) }
    switch phase {
    case .local: return isEnd ? .askLocal : []
    case .sending, .responding: return .forward
    case .choosing, .waiting, .connecting: return []
    case .awaitingHead, .lingering, .over: impossible("bodyReceived")
    }
  }

  /// The body is not what its framing says, or, of a local request, too large.
  public mutating func bodyRefused(_ reason: Refusal) -> Step {
    require(phase != .awaitingHead && phase != .lingering && phase != .over, "bodyRefused")
    return abandon().union(flags.contains(.hasResponse) ? close() : refuse(reason))
  }

  /// The balancer's own answer is at hand.
  public mutating func localAnswered() -> Step {
    require(phase == .local, "localAnswered")
    return goOn(.answer)
  }

  // MARK: The client

  /// The kernel does not take what is sent to the client.
  public mutating func clientBlocked() {
    flags.insert(.clientBlocked)
  }

  /// The kernel has taken all that was sent to the client.
  public mutating func clientDrained() -> Step {
    flags.remove(.clientBlocked)
    return phase == .lingering ? .linger : []
  }

  /// The client has ended its side, in order. Within a request that takes the request back; behind it, the client may
  /// still be reading.
  public mutating func clientEnded() -> Step {
    flags.insert(.clientEnded)
    switch phase {
    case .over: return []
    case .awaitingHead, .lingering: return close()
    default: return flags.contains(.requestEnded) ? endLink() : clientLeft()
    }
  }

  /// The client's connection is broken.
  public mutating func clientLeft() -> Step {
    phase == .over ? [] : abandon().union(close())
  }

  /// What was awaited did not come in time.
  /// - Parameter isHeadPartial: a part of a head has come.
  public mutating func deadlinePassed(isHeadPartial: Bool) -> Step {
    switch phase {
    case .awaitingHead:
      // Who does not take the answers before would not take this one.
      guard isHeadPartial, !flags.contains(.clientBlocked) else { return close() }
      forgetRequest()
      return refuse(.headTimedOut)
    case .choosing, .over: return []
    case .waiting: return abandon().union(refuse(.noBackend))
    case .connecting: return failed(.nothingSent, isReplayable: true, otherwise: .connectTimedOut)
    case .local: return refuse(flags.contains(.requestEnded) ? .responseTimedOut : .bodyTimedOut)
    case .sending, .responding:
      // Who is waited for: the client, if it does not take the response or could send more of the body; else the
      // backend, which does not take the body or does not answer.
      let isClients = flags.contains(.clientBlocked) || flags.isDisjoint(with: [.requestEnded, .requestBlocked])
      let isSent = flags.contains(.hasResponse)
      let link = isClients ? abandon() : lose()
      return link.union(isSent ? close() : refuse(isClients ? .bodyTimedOut : .responseTimedOut))
    case .lingering: return close()
    }
  }

  /// The balancer stops: the request in progress is the last one. What its backend can say at once it should say now.
  /// - Parameter isQuiet: nothing of a request has come.
  public mutating func drainOrdered(isQuiet: Bool) -> Step {
    flags.insert(.draining)
    return phase == .awaitingHead && isQuiet ? close() : endLink()
  }
}
