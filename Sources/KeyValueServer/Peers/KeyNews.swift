import Basics
import Reactor
import VersionedStore

/// Something to tell whoever watches.
struct WatchedEvent {
  /// Where it happened.
  let partition: Int
  /// How far its partition is seen with it; -1 if nothing of it is known.
  let revision: Int64
  /// `put`, `delete` or `reset`.
  let name: String
  private let content: Content

  private enum Content {
    /// JSON in one line.
    case written([UInt8])
    /// What becomes that when somebody takes it: until then all who are told of it share the value.
    case stored(StoreEvent)
  }

  /// Something with JSON of its own.
  init(partition: Int, revision: Int64, name: String, data: [UInt8]) {
    (self.partition, self.revision, self.name, content) = (partition, revision, name, .written(data))
  }

  /// Something that has happened to a key.
  init(_ event: StoreEvent, in partition: Int) {
    (self.partition, revision, content) = (partition, event.version.revision, .stored(event))
    name = event.version.value == nil ? "delete" : "put"
  }

  /// How long its text is, about, and not less.
  var bytesAbout: Int {
    switch content {
    case .written(let data): data.count + 1024
    // In JSON a byte of a key may take six.
    case .stored(let event): (event.version.value?.count ?? 0) + 6 * event.key.bytes.count + 1024
    }
  }

  /// A server-sent event (HTML Standard §9.2) with which everything up to `id` is seen, in one piece.
  func text(id: WatchPosition) -> [UInt8] {
    var text: [UInt8] = []
    text.reserveCapacity(bytesAbout)
    text += "id: \(id.text)\nevent: \(name)\ndata: ".utf8
    switch content {
    case .written(let data): text += data
    case .stored(let event): text += json(event)
    }
    text += "\n\n".utf8
    return text
  }

  private func json(_ event: StoreEvent) -> [UInt8] {
    var json = JSONWriter(capacity: bytesAbout)
    json.object { json in
      json.field("key", event.key.bytes)
      event.version.writeFields(to: &json)
      json.field("partition", partition)
      json.field("revision", revision)
    }
    return json.bytes
  }
}

/// What happens to keys of a range in partitions of this server, page by page.
final class KeyNews {
  /// Which ones.
  let partitions: [Int]
  /// How far all that was told goes.
  private(set) var position = WatchPosition()
  private let store: Store
  private let range: KeyRange
  /// The partition that is looked at first: none waits for the others to be silent.
  private var turn = 0

  /// News since `position`, nil for from now on.
  init(_ store: Store, _ range: KeyRange, _ partitions: [Int], since position: WatchPosition?) {
    (self.store, self.range, self.partitions) = (store, range, partitions)
    for partition in partitions {
      // Of a partition that was not watched before nobody knows what was seen.
      self.position[partition] = position.map { $0[partition] ?? -1 } ?? store.revision(of: partition)
    }
  }

  /// Whether something has happened that was not told; also that a partition is not here any more.
  var hasMore: Bool {
    partitions.contains { !store.holds($0) || store.revision(of: $0) > (position[$0] ?? -1) }
  }

  /// What has happened next in one of them, nothing if all is told; nil if a partition is not here any more, or cannot
  /// be read.
  func next(on reactor: isolated Reactor) async -> [WatchedEvent]? {
    guard partitions.allSatisfy(store.holds) else { return nil }
    for offset in partitions.indices {
      let partition = partitions[(turn + offset) % partitions.count]
      let seen = position[partition] ?? -1
      guard seen < store.revision(of: partition) else { continue }
      let page: EventPage
      do throws(StoreError) {
        page = try await store.events(in: range, since: max(seen, 0), of: partition, on: reactor)
      } catch {
        // Who comes back is told why; what was told is told.
        guard error == .busy else { return nil }
        // All who watch would come back at once, to a server that has too much to do already.
        await reactor.sleep(for: Limits.busyPause)
        return []
      }
      turn = (turn + offset + 1) % partitions.count
      if page.hasGap || seen < 0 {
        // What is known of a part would be no less misleading: all of it is to be asked for.
        let now = max(store.revision(of: partition), page.through)
        position[partition] = now
        return [
          WatchedEvent(
            partition: partition, revision: now, name: "reset", data: Array(#"{"partition":\#(partition)}"#.utf8))
        ]
      }
      position[partition] = page.through
      if !page.events.isEmpty { return page.events.map { WatchedEvent($0, in: partition) } }
    }
    return []
  }
}
