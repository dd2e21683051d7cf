import Backends
import Balancing
import Basics
import Exchange
import Glibc
import HTTP
import Reactor
import Telemetry

/// The runner: performs steps. What comes of one is the exchange's next input, until nothing is left to be done.
extension HTTP1Session {
  /// Performs `first` and whatever follows from it.
  func run(_ first: Step, on reactor: isolated Reactor) {
    var step = first
    while !step.isEmpty {
      if !step.isDisjoint(with: Step.linkWork) { settleLink(step, on: reactor) }
      if !step.isDisjoint(with: [.relay, .answer, .invite]) {
        switch send(step, on: reactor) {
        case .all: break
        case .part: clientBlocked(on: reactor)
        case .failed:
          step = exchange.clientLeft()
          continue
        }
      }
      step = goOn(step, on: reactor)
    }
  }

  /// Does what leads to the next input, and returns what that leads to.
  private func goOn(_ step: Step, on reactor: isolated Reactor) -> Step {
    if step.contains(.forward) { return uncounted(link) { forward(over: $0, on: reactor) } ?? [] }
    if step.contains(.nextHead) {
      requestEnded(on: reactor)
      return []
    }
    if step.contains(.limit) { return limit(on: reactor) }
    if step.contains(.choose) { return choose(proxy, on: reactor) }
    if step.contains(.spendRetry) {
      let isGranted = proxy.shared.retries.takeRetry()
      if isGranted { proxy.shared.metrics.retries.increment() }
      return exchange.retryDecided(isGranted: isGranted)
    }
    if step.contains(.enqueue) { enqueue(on: reactor) }
    if step.contains(.askLocal) { return askLocal(on: reactor) }
    if step.contains(.linger) { return linger(on: reactor) }
    if step.contains(.endLink), let request { link?.endWriting(behind: request) }
    if step.contains(.close) { close(on: reactor) }
    return []
  }

  // MARK: The client

  private func send(_ step: Step, on reactor: isolated Reactor) -> Pump.Sent {
    if step.contains(.relay) { return relay(on: reactor) }
    if step.contains(.answer) { return answer(keeping: step.contains(.nextHead), on: reactor) }
    let invitation: StaticString = "HTTP/1.1 100 Continue\r\n\r\n"
    return pump.send(
      UnsafeRawBufferPointer(start: invitation.utf8Start, count: invitation.utf8CodeUnitCount), on: reactor)
  }

  /// Sends what stands ready of the response in the reactor's memory.
  private func relay(on reactor: isolated Reactor) -> Pump.Sent {
    if proxy.sending.count == 0 { return pump.unsentBytes == 0 ? .all : .part }
    return pump.send(proxy.sending.readable, on: reactor)
  }

  /// The answer is on its way; the next request may come.
  private func requestEnded(on reactor: isolated Reactor) {
    progress.since = reactor.now
    if proxy.mayKeepRequest { uncounted(request) { $0.reset() } } else { returnRequest() }
    if local != nil { local = nil }
    if proxy.isAwaitingRoom { proxy.roomCame(on: reactor) }
  }

  func returnRequest() {
    guard let request else { return }
    self.request = nil
    proxy.takeBack(request)
  }

  /// Once the kernel has all: tells the client that this was all, and waits for its own end, lest unread bytes turn the
  /// close into a reset that destroys the answer.
  private func linger(on reactor: isolated Reactor) -> Step {
    requestEnded(on: reactor)
    progress.startedAt = reactor.now
    guard pump.unsentBytes == 0 else { return [] }
    if exchange.hasClientEnded || pump.sawEnd { return exchange.clientEnded() }
    pump.shutdownWriting()
    return []
  }

  private func close(on reactor: isolated Reactor) {
    returnRequest()
    local = nil
    input.removeAll()
    input.releaseIfEmpty()
    pump.close(on: reactor)
    countMemory(on: reactor)
    proxy.closed(self, on: reactor)
  }

  // MARK: The limiter and the backends

  private func limit(on reactor: isolated Reactor) -> Step {
    guard proxy.shared.limiter.isOn else { return exchange.limitDecided(isAllowed: true) }
    let decision = uncounted(proxy.shared.limiter) { $0.admit(key, at: reactor.now.milliseconds) }
    self.decision = decision
    if !decision.isAllowed { proxy.shared.metrics.limited.increment() }
    return exchange.limitDecided(isAllowed: decision.isAllowed)
  }

  /// Looks for a backend and a link to it.
  private func choose(_ proxy: ProxyReactor, on reactor: isolated Reactor) -> Step {
    if progress.queuedAt.nanoseconds == 0 {
      if !exchange.wasAttempted { uncounted(proxy.shared.retries) { $0.requestStarted() } }
      // Whoever waits already comes first; if there is room by now, the line is served before the loop sleeps.
      if proxy.line(of: self).count > 0 {
        proxy.serveLine(on: reactor)
        return noBackend(on: reactor)
      }
    }
    if head.destination != .anyBackend {
      guard let entry = proxy.keyServers.choose(head.destination, excluded: tried, at: reactor.now) else {
        return noBackend(on: reactor)
      }
      return ask(entry, proxy, on: reactor)
    }
    let strategy = uncounted(proxy.shared) { $0.strategy }
    let choice = BackendPool.Request(
      nowMs: reactor.now.milliseconds, random: strategy == .powerOfTwo ? proxy.random.next() : 0,
      ringPosition: head.ringPosition, excluded: tried)
    return uncounted(proxy.backends) { set in
      guard let index = set.pool.choose(strategy, choice) else { return noBackend(on: reactor) }
      return uncounted(set.entries[index]) { ask($0, proxy, on: reactor) }
    }
  }

  /// Takes up a connection to the backend that was chosen.
  private func ask(_ entry: BackendEntry, _ proxy: ProxyReactor, on reactor: isolated Reactor) -> Step {
    guard entry.backend.requestStarted() else { return noBackend(on: reactor) }
    chosen = entry
    progress.since = reactor.now
    if !wantsFreshLink {
      link = uncounted(proxy.upstreams) { $0.take(entry, at: reactor.now) }
      if uncounted(link, { $0.begin(for: self, on: reactor) }) != nil {
        return exchange.backendChosen(isConnected: true, isReused: true)
      }
    }
    return connect(to: entry, on: reactor)
  }

  private func connect(to entry: BackendEntry, on reactor: isolated Reactor) -> Step {
    guard proxy.upstreams.makeRoom(proxy.shared.configuration.linksMax, on: reactor) else {
      giveUp(entry)
      // One that is in use will be free before long.
      return noBackend(on: reactor)
    }
    do throws(SystemError) {
      let fresh = try HTTP1Link(entry, proxy: proxy, on: reactor)
      link = fresh
      fresh.begin(for: self, on: reactor)
      return exchange.backendChosen(isConnected: !fresh.isConnecting, isReused: false)
    } catch {
      if error.isShortage {
        giveUp(entry)
        return exchange.resourcesLacked()
      }
      return error.code == EAGAIN ? exchange.connectDeferred() : exchange.connectFailed()
    }
  }

  /// It is our own shortage, not the backend's fault.
  private func giveUp(_ entry: BackendEntry) {
    entry.backend.requestAbandoned()
    chosen = nil
  }

  private func noBackend(on reactor: isolated Reactor) -> Step {
    let queuedFor = progress.queuedAt.nanoseconds == 0 ? nil : reactor.now.since(progress.queuedAt)
    return exchange.noBackendChosen(queuedFor: queuedFor, hasQueueRoom: proxy.line(of: self).hasRoom, proxy.times)
  }

  private func enqueue(on reactor: isolated Reactor) {
    if progress.queuedAt.nanoseconds == 0 { progress.queuedAt = reactor.now }
    proxy.wait(self, on: reactor)
  }

  /// Settles the account of the backend that has the request, and ends or keeps the link.
  private func settleLink(_ step: Step, on reactor: isolated Reactor) {
    let isSettled: Void? = uncounted(chosen) { entry in
      if step.contains(.credit) {
        let isCredited: Void? = uncounted(link) { credit(entry, for: $0, proxy, on: reactor) }
        precondition(isCredited != nil, "a backend has answered and there is no link to it")
      }
      if step.contains(.blame) {
        proxy.shared.register.blame(entry, isLost: step.contains(.lost), at: reactor.now.milliseconds)
      }
      if step.contains(.excuse) { entry.backend.requestAbandoned() }
      if step.contains(.exclude) { tried |= entry.backend.bit }
    }
    if isSettled != nil {
      chosen = nil
      // One that could not even be asked has no room for others either; they look again after a pause.
      if !step.contains(.exclude) { proxy.serveLine(on: reactor) }
    }
    if step.contains(.renew) { wantsFreshLink = true }
    if step.contains(.replay) {
      request?.rewind()
      if step.contains(.choose) { proxy.shared.metrics.retries.increment() }
    }
    if step.contains(.dequeue) { proxy.line(of: self).left() }
    guard !step.isDisjoint(with: [.keepLink, .closeLink]), let link else { return }
    self.link = nil
    if step.contains(.keepLink), uncounted(proxy.upstreams, { $0.keep(link, on: reactor) }) { return }
    link.close(on: reactor)
  }

  private func credit(
    _ entry: BackendEntry, for link: HTTP1Link, _ proxy: ProxyReactor, on reactor: isolated Reactor
  ) {
    entry.backend.requestAnswered(
      latencyUs: Int(link.latency.nanoseconds / 1000), isBad: Backend.isBad(status: link.status))
    entry.latency.observe(reactor.now.since(progress.startedAt))
    uncounted(proxy.shared) { $0.metrics.count(status: link.status) }
  }

  /// Gives the backend what waits of the request. A connection that has ended meanwhile may have answered before, so
  /// what it sent decides: that is read next.
  private func forward(over link: HTTP1Link, on reactor: isolated Reactor) -> Step {
    let hasTaken = uncounted(request) { link.forward($0, on: reactor) } ?? false
    if hasTaken {
      progress.since = reactor.now
      // While the backend took nothing the client was not listened to.
      if !exchange.readsBody, !exchange.isClientBlocked { progress.pace = Pace(from: reactor.now) }
    }
    return exchange.requestTaken(isBlocked: isRequestBlocked)
  }

  private func askLocal(on reactor: isolated Reactor) -> Step {
    guard let local else { return [] }
    if local.isLimited {
      let decision = proxy.shared.ownLimiter.admit(key, at: reactor.now.milliseconds)
      if !decision.isAllowed {
        proxy.shared.metrics.limited.increment()
        local.answer = tooManyOwn(decision)
        return exchange.localAnswered()
      }
    }
    let question = local.question(id: id.bytes, peer: peer.text)
    let operations = proxy.shared.operations
    Task.immediate(executorPreference: reactor.queue) {
      let answer = await operations.answer(question)
      self.answered(local, with: answer, on: reactor)
    }
    return []
  }
}
