import Basics
import HTTP
import HTTPSyntax
import Reactor
import VersionedStore

extension KeyValueService {
  /// `GET /watch`
  func watch(_ request: HTTPRequest, on reactor: isolated Reactor) async throws(Problem) -> HTTPResponse {
    let range = try KeyRequest.range(request)
    let partitions = try KeyRequest.partitions(request, range, of: store.partitionCount)
    let last = request.text(of: .lastEventID)
    // Whoever comes back says what was seen last; the address is still that of the first time.
    var position = try last.flatMap { $0.isEmpty ? nil : $0 }.map { (text) throws(Problem) in
      try KeyValueService.position(text, "Last-Event-ID")
    }
    if position == nil {
      position = try request.query("since").map { (text) throws(Problem) in
        text == "0"
          ? WatchPosition(Dictionary(uniqueKeysWithValues: partitions.map { ($0, 0) }))
          : try KeyValueService.position(text, "since")
      }
    }
    let (here, others) = try await news(of: partitions, range, since: position, for: request, on: reactor)
    if position == nil { try await lookForNewest(in: here, request, on: reactor) }
    let pause = Pause()
    guard admitWatcher(pause) else {
      throw unavailable("Too many clients watch already.", "too many clients watch", request)
    }
    let own = KeyNews(store, range, here, since: position)
    var response = HTTPResponse(200, "text/event-stream", streaming: KeyEvents(self, own, others, pause, request))
    response.set("Cache-Control", "no-store")
    response.set("X-Server-Used", usedName)
    return response
  }

  /// Which partitions are here, and the news of the others, of which every server has answered once: that one does not
  /// is found out before the client is told that all is well.
  private func news(
    of partitions: [Int], _ range: KeyRange, since position: WatchPosition?, for request: HTTPRequest,
    on reactor: isolated Reactor
  ) async throws(Problem) -> (here: [Int], others: [PeerNews]) {
    var silent: Set<String> = []
    while true {
      let found = try await whereabouts(of: partitions, without: silent, for: request, on: reactor)
      let others = found.elsewhere.map { PeerNews(polls, $0.peer, $0.partitions, range, position) }
      let isThere = await PeerNews.begin(others, on: reactor)
      let failed = zip(others, isThere).filter { !$0.1 }.map(\.0.peer)
      note(failed, in: &silent)
      if failed.isEmpty { return (found.here, others) }
    }
  }

  /// `GET /partitions/{numbers}/events`: what happens in partitions of this server, for another one whose client
  /// watches all of them. It is answered as soon as there is something, or after `wait` seconds.
  func tellNews(_ request: HTTPRequest, on reactor: isolated Reactor) async throws(Problem) -> HTTPResponse {
    let range = try KeyRequest.range(request)
    // An empty one is that of somebody who has seen something, but nothing of these partitions.
    let since = try request.query("since").map { (text) throws(Problem) in
      text.isEmpty ? WatchPosition() : try KeyValueService.position(text, "since")
    }
    let wait = try request.query("wait", takes: "0 to 60 seconds") { Int($0).flatMap { 0...60 ~= $0 ? $0 : nil } } ?? 0
    let partitions = try await askedPartitions(request, on: reactor)
    if since == nil { try await lookForNewest(in: partitions, request, on: reactor) }
    let news = KeyNews(store, range, partitions, since: since)
    let pause = Pause()
    guard admitWatcher(pause) else {
      throw unavailable("Too many clients watch already.", "too many clients watch", request)
    }
    defer { dismissWatcher(pause) }
    request.whenClientEnds { pause.end() }
    store.watch(news.partitions, pause, on: reactor)
    defer { store.unwatch(news.partitions, pause) }
    let deadline = reactor.now + .seconds(UInt64(wait))
    var told: [UInt8] = []
    while true {
      guard let events = await news.next(on: reactor) else {
        throw unavailable("A partition is not here any more.", "a partition is not here any more", request)
      }
      for event in events { told += event.text(id: WatchPosition([event.partition: event.revision])) }
      if !events.isEmpty || isEnded(request) { break }
      if news.hasMore { continue }
      guard await pause.wait(until: deadline, on: reactor) else { break }
    }
    told += Array("id: \(news.position.text)\n\n".utf8)
    return HTTPResponse(200, "text/event-stream", told)
  }

  /// Before somebody watches from now on: of what is old by now nobody wants to hear.
  private func lookForNewest(
    in partitions: [Int], _ request: HTTPRequest, on reactor: isolated Reactor
  ) async throws(Problem) {
    for partition in partitions {
      do throws(StoreError) { try await store.lookForNewest(in: partition, on: reactor) } catch {
        throw problem(error, request)
      }
    }
  }

  private static func position(_ text: String, _ name: StaticString) throws(Problem) -> WatchPosition {
    if let position = WatchPosition(text) { return position }
    throw Problem(
      400, "\(name) takes the id of an event.", errors: [Problem.FieldError("\(name)", "is not the id of an event")])
  }
}

/// What happens to keys, as server-sent events (HTML Standard §9.2). An event's id says how far all partitions were
/// seen, so whoever comes back with it misses nothing; if what has happened since is not known any more, an event
/// `reset` says so: all that is to be known then has to be asked for.
///
/// What happens at other servers is asked of them, so one stream tells of all partitions, each in its order. When a
/// partition moves the stream ends, and whoever comes back is served from where it is then.
final class KeyEvents: HTTPBodySource {
  private let service: KeyValueService
  private let own: KeyNews
  private let others: [PeerNews]
  private var position: WatchPosition
  private let pause: Pause
  private let request: HTTPRequest
  private var wroteAt = MonotonicTime(nanoseconds: 0)

  /// The events of this server and of others.
  init(
    _ service: KeyValueService, _ own: KeyNews, _ others: [PeerNews], _ pause: Pause, _ request: HTTPRequest
  ) {
    (self.service, self.own, self.others) = (service, own, others)
    (self.pause, self.request) = (pause, request)
    self.position = own.position
    for other in others { self.position.advance(to: other.position) }
  }

  deinit { service.dismissWatcher(pause) }

  /// Writes events until the client goes, the process stops, or a partition goes to another server.
  func write(to writer: HTTPBodyWriter, on reactor: isolated Reactor) async {
    request.whenClientEnds { [pause] in pause.end() }
    service.store.watch(own.partitions, pause, on: reactor)
    defer { service.store.unwatch(own.partitions, pause) }
    for other in others { other.follow(telling: pause, on: reactor) }
    defer { for other in others { other.end() } }
    // Nobody is told of an event without data, but who comes back before the first one names it.
    if position.isWhole {
      guard await writer.write(Array("id: \(position.text)\n\n".utf8), on: reactor) else { return }
    }
    wroteAt = reactor.now
    while !service.isEnded(request) {
      guard var events = await own.next(on: reactor) else { return }
      for other in others {
        guard let news = other.take() else { return }
        events += news
      }
      for event in events {
        position[event.partition] = event.revision
        let isWritten = await writer.write(about: event.bytesAbout, on: reactor) { event.text(id: position) }
        guard isWritten else { return }
        wroteAt = reactor.now
      }
      position.advance(to: own.position)
      for other in others { position.advance(to: other.position) }
      if !events.isEmpty || own.hasMore || others.contains(where: \.hasMore) { continue }
      if reactor.now.since(wroteAt) >= Limits.watchComment {
        guard await writer.write(Array(":\n\n".utf8), on: reactor) else { return }
        wroteAt = reactor.now
      }
      guard !service.isEnded(request) else { return }
      await pause.wait(until: wroteAt + Limits.watchComment, on: reactor)
    }
  }
}
