import Basics
import HTTP
import HTTPSyntax
import Reactor
import VersionedStore

/// How far somebody has seen what happens: a revision for each partition, as `0:17,3:4`.
struct WatchPosition: Equatable {
  private(set) var revisions: [Int: Int64]

  init(_ revisions: [Int: Int64] = [:]) {
    self.revisions = revisions
  }

  /// Nil for a text that is none.
  init?(_ text: String) {
    revisions = [:]
    for part in text.split(separator: ",", omittingEmptySubsequences: false) {
      let words = part.split(separator: ":", omittingEmptySubsequences: false)
      guard words.count == 2, let partition = Int(words[0]), let revision = Int64(words[1]), revision >= 0,
        0..<VersionedStore.Limits.partitions.upperBound ~= partition,
        revisions.updateValue(revision, forKey: partition) == nil
      else { return nil }
    }
  }

  subscript(partition: Int) -> Int64? {
    get { revisions[partition] }
    set { revisions[partition] = newValue }
  }

  var text: String { revisions.sorted { $0.key < $1.key }.map { "\($0.key):\($0.value)" }.joined(separator: ",") }
}

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
    for partition in partitions { try await take(partition, for: request, on: reactor) }
    let pause = Pause()
    guard admitWatcher(pause) else {
      throw unavailable("Too many clients watch already.", "too many clients watch", request)
    }
    let events = KeyEvents(self, range, partitions, position, pause, request)
    var response = HTTPResponse(200, "text/event-stream", streaming: events)
    response.set("Cache-Control", "no-store")
    response.set("X-Server-Used", usedName)
    return response
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
final class KeyEvents: HTTPBodySource {
  private let service: KeyValueService
  private let range: KeyRange
  private let partitions: [Int]
  private var position: WatchPosition
  private let pause: Pause
  private let request: HTTPRequest

  /// Events since `position`, nil for from now on.
  init(
    _ service: KeyValueService, _ range: KeyRange, _ partitions: [Int], _ position: WatchPosition?, _ pause: Pause,
    _ request: HTTPRequest
  ) {
    (self.service, self.range, self.partitions) = (service, range, partitions)
    (self.pause, self.request) = (pause, request)
    var begin = WatchPosition()
    for partition in partitions {
      // Of a partition that was not watched before nobody knows what was seen.
      begin[partition] = position.map { $0[partition] ?? -1 } ?? service.store.revision(of: partition)
    }
    self.position = begin
  }

  deinit { service.dismissWatcher(pause) }

  /// Writes events until the client goes, the process stops, or a partition goes to another server.
  func write(to writer: HTTPBodyWriter, on reactor: isolated Reactor) async {
    let store = service.store
    request.whenClientEnds { [pause] in pause.end() }
    store.watch(partitions, pause, on: reactor)
    defer { store.unwatch(partitions, pause) }
    // Nobody is told of an event without data, but who comes back before the first one names it.
    if partitions.allSatisfy({ (position[$0] ?? -1) >= 0 }) {
      guard await writer.write(Array("id: \(position.text)\n\n".utf8), on: reactor) else { return }
    }
    var wroteAt = reactor.now
    while !service.isEnded(request) {
      for partition in partitions {
        guard store.holds(partition), await tell(partition, writer, &wroteAt, on: reactor) else { return }
      }
      if hasNews { continue }
      if reactor.now.since(wroteAt) >= Limits.watchComment {
        guard await writer.write(Array(":\n\n".utf8), on: reactor) else { return }
        wroteAt = reactor.now
      }
      guard !service.isEnded(request) else { return }
      await pause.wait(until: wroteAt + Limits.watchComment, on: reactor)
    }
  }

  /// Whether something has happened that was not told; also that a partition is not here any more.
  private var hasNews: Bool {
    partitions.contains {
      !service.store.holds($0) || service.store.revision(of: $0) > (position[$0] ?? 0)
    }
  }

  /// Tells what has happened in a partition; false if there is nobody to be told, or nothing to be known.
  private func tell(
    _ partition: Int, _ writer: HTTPBodyWriter, _ wroteAt: inout MonotonicTime, on reactor: isolated Reactor
  ) async -> Bool {
    while true {
      let seen = position[partition] ?? -1
      guard seen < service.store.revision(of: partition) else { return true }
      let page: EventPage
      do throws(StoreError) {
        page = try await service.store.events(in: range, since: max(seen, 0), of: partition, on: reactor)
      } catch {
        // Who comes back is told why; what was told is told.
        return false
      }
      if page.hasGap || seen < 0 {
        // What is known of a part would be no less misleading: all of it is to be asked for.
        position[partition] = max(service.store.revision(of: partition), page.through)
        guard await write("reset", #"{"partition":\#(partition)}"#.utf8, to: writer, on: reactor) else { return false }
        wroteAt = reactor.now
        continue
      }
      for event in page.events {
        position[partition] = event.version.revision
        let name = event.version.value == nil ? "delete" : "put"
        guard await write(name, KeyEvents.json(event, partition), to: writer, on: reactor) else { return false }
        wroteAt = reactor.now
      }
      position[partition] = page.through
      if page.through <= seen || page.through >= service.store.revision(of: partition) { return true }
    }
  }

  private func write(
    _ name: String, _ data: some Sequence<UInt8>, to writer: HTTPBodyWriter, on reactor: isolated Reactor
  ) async -> Bool {
    await writer.write(
      Array("id: \(position.text)\nevent: \(name)\ndata: ".utf8) + data + Array("\n\n".utf8), on: reactor)
  }

  private static func json(_ event: StoreEvent, _ partition: Int) -> [UInt8] {
    let version = event.version
    var json = JSONWriter(capacity: event.key.bytes.count + (version.value?.count ?? 0) + 160)
    json.object { json in
      json.field("key", event.key.bytes)
      version.writeFields(to: &json)
      json.field("partition", partition)
      json.field("revision", version.revision)
    }
    return json.bytes
  }
}
