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
  /// JSON in one line.
  let data: [UInt8]

  /// A server-sent event (HTML Standard §9.2) with which everything up to `id` is seen.
  func text(id: WatchPosition) -> [UInt8] {
    Array("id: \(id.text)\nevent: \(name)\ndata: ".utf8) + data + [0x0A, 0x0A]
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
        return nil
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
      if !page.events.isEmpty { return page.events.map { KeyNews.told($0, partition) } }
    }
    return []
  }

  private static func told(_ event: StoreEvent, _ partition: Int) -> WatchedEvent {
    let version = event.version
    var json = JSONWriter(capacity: event.key.bytes.count + (version.value?.count ?? 0) + 160)
    json.object { json in
      json.field("key", event.key.bytes)
      version.writeFields(to: &json)
      json.field("partition", partition)
      json.field("revision", version.revision)
    }
    return WatchedEvent(
      partition: partition, revision: version.revision, name: version.value == nil ? "delete" : "put",
      data: json.bytes)
  }
}
