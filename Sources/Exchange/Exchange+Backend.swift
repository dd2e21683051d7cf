public import Basics

/// What the backend does: taking the request, answering it, and failing.
extension Exchange {
  // MARK: The backend

  /// A backend was found, and a connection to it that is there or being made.
  public mutating func backendChosen(isConnected: Bool, isReused: Bool) -> Step {
    require(phase == .choosing, "backendChosen")
    flags.insert(.attempted)
    if isReused { flags.insert(.linkIsReused) } else { flags.remove(.linkIsReused) }
    flags.remove(.linkEnded)
    phase = isConnected ? .sending : .connecting
    return isConnected ? .forward : []
  }

  /// No backend is fit, has room and was not tried already.
  /// - Parameters:
  ///   - queuedFor: how long it has waited for one, nil if it has not.
  ///   - hasQueueRoom: one more may wait.
  public mutating func noBackendChosen(queuedFor: TimeSpan?, hasQueueRoom: Bool, _ times: ExchangeTimes) -> Step {
    require(phase == .choosing, "noBackendChosen")
    guard queuedFor.map({ $0 < times.queue }) ?? hasQueueRoom else { return refuse(.noBackend) }
    phase = .waiting
    return .enqueue
  }

  /// It is this request's turn to look for a backend again.
  public mutating func turnCame() -> Step {
    require(phase == .waiting, "turnCame")
    phase = .choosing
    return .choose
  }

  /// The balancer lacks what a connection takes.
  public mutating func resourcesLacked() -> Step {
    require(phase == .choosing, "resourcesLacked")
    return refuse(.outOfResources)
  }

  /// The connection was made.
  public mutating func connected() -> Step {
    require(phase == .connecting, "connected")
    phase = .sending
    return .forward
  }

  /// The connection could not be made; while choosing: not even begun.
  public mutating func connectFailed() -> Step {
    require(phase == .connecting || phase == .choosing, "connectFailed")
    flags.insert(.attempted)
    flags.remove(.linkIsReused)
    return failed(.nothingSent, isReplayable: true, otherwise: .backendRefused)
  }

  /// The backend has more connections to take than it may let wait: it is busy, not broken.
  public mutating func connectDeferred() -> Step {
    require(phase == .choosing, "connectDeferred")
    return [.excuse, .exclude, .choose]
  }

  /// The backend's kernel has taken what it took; `isBlocked` if more than may wait is left.
  public mutating func requestTaken(isBlocked: Bool) -> Step {
    if isBlocked { flags.insert(.requestBlocked) } else { flags.remove(.requestBlocked) }
    return endLink()
  }

  /// The backend's connection has ended before the response did.
  /// - Parameter isReplayable: all that was sent of the request is still at hand.
  public mutating func upstreamEnded(_ delivery: Delivery, isReplayable: Bool) -> Step {
    require(phase == .sending || phase == .responding, "upstreamEnded")
    if flags.contains(.hasResponse) { return lose().union(close()).union(.lost) }
    return failed(delivery, isReplayable: isReplayable, otherwise: .backendFailed)
  }

  /// Whether the retry budget allows another attempt.
  public mutating func retryDecided(isGranted: Bool) -> Step {
    require(phase == .choosing, "retryDecided")
    guard isGranted else { return refuse(.backendFailed) }
    retriesPaid += 1
    return .choose
  }

  // MARK: The response

  /// An interim response was read; it stands ready to be passed on if the client wants it (RFC 9110 §15.2).
  public mutating func interimReceived() -> Step {
    require(phase == .sending, "interimReceived")
    flags.insert(.hasInterim)
    return .relay
  }

  /// The head of the final response was read.
  /// - Parameters:
  ///   - keepsLink: the backend lets its connection be used again.
  ///   - endsWithConnection: only the end of the client's connection will tell the end of the body.
  /// - Returns: `announceClose` if the client's connection ends with this response.
  public mutating func responseHeadReceived(keepsLink: Bool, endsWithConnection: Bool) -> Step {
    require(phase == .sending, "responseHeadReceived")
    phase = .responding
    if keepsLink { flags.insert(.linkKeeps) }
    // An answer that comes before the body's end leaves the rest of the body where the next request is awaited.
    let ends = endsWithConnection || !flags.isDisjoint(with: [.draining, .clientEnded])
    guard ends || !request.keepsAlive || !flags.contains(.requestEnded) else { return [] }
    flags.insert(.closeAnnounced)
    return .announceClose
  }

  /// More of the response was read and stands ready for the client.
  /// - Parameters:
  ///   - isEnd: it was the last of it.
  ///   - isLinkClean: nothing stands behind it, nothing of the request is unsent, and the backend has not closed.
  public mutating func responseReceived(isEnd: Bool, isLinkClean: Bool) -> Step {
    require(phase == .responding, "responseReceived")
    flags.insert(.hasResponse)
    guard isEnd else { return .relay }
    let keeps =
      isLinkClean && flags.isSuperset(of: [.linkKeeps, .requestEnded])
      && flags.isDisjoint(with: [.draining, .linkEnded])
    let link: Step = keeps ? [.credit, .keepLink] : [.credit, .closeLink]
    return goOn(.relay).union(link)
  }

  /// What the backend sent is no acceptable response.
  public mutating func responseMalformed() -> Step {
    require(phase == .sending || phase == .responding, "responseMalformed")
    let isSent = flags.contains(.hasResponse)
    return lose().union(isSent ? close() : refuse(.backendMalformed))
  }
}
