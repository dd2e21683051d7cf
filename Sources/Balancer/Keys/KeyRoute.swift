import Basics
import HTTPSyntax
import VersionedStore

/// Where a request goes, in one byte: every connection has one.
struct Destination: Equatable {
  private let number: UInt8

  /// To any backend.
  static let anyBackend = Destination(number: 255)
  /// To any server of keys: each can answer for all of them.
  static let anyKeyServer = Destination(number: 254)

  /// To the server at which this partition of keys stands.
  static func partition(_ partition: Int) -> Destination { Destination(number: UInt8(partition)) }

  /// The partition of keys that it is for, nil if it is for none.
  var partition: Int? { number < 254 ? Int(number) : nil }
}

/// Which requests are for keys, and for which partition: read off the target, since a balancer reads no bodies.
///
///     /put/{key} /get/{key} /history/{key} /delete/{key} /batch/{key}      the partition of the key
///     /keys /watch                                 that of `partition`, or of the tag that `prefix` begins with
///     /servers /insights /db/stats /cache/stats?server=                    any server
///
/// Everything else is no concern of the servers of keys: what they ask each other, below `/partitions/`, no client
/// reaches through a balancer. What is malformed goes to any of them, which says so.
struct KeyRoute {
  /// How many partitions there are.
  let partitions: Int
  /// Room for a key without its escapes.
  private let key = ByteScratch(capacity: VersionedStore.Limits.keyBytesMax)

  init(partitions: Int) {
    self.partitions = partitions
  }

  /// Where the request with `head` goes, which was parsed from the beginning of `scratch`.
  func destination(of head: RequestHead, in scratch: ByteScratch) -> Destination {
    let path = scratch.range(head.path)
    guard path.count >= 5 else { return .anyBackend }
    switch path[1] {
    case UInt8(ascii: "k"): return path.equals("/keys") ? ofList(head, in: scratch) : .anyBackend
    case UInt8(ascii: "g"): return ofKey(path, behind: "/get/")
    case UInt8(ascii: "p"): return ofKey(path, behind: "/put/")
    case UInt8(ascii: "h"): return ofKey(path, behind: "/history/")
    case UInt8(ascii: "b"): return ofKey(path, behind: "/batch/")
    case UInt8(ascii: "d"): return path.equals("/db/stats") ? .anyKeyServer : ofKey(path, behind: "/delete/")
    case UInt8(ascii: "w"): return path.equals("/watch") ? ofList(head, in: scratch) : .anyBackend
    case UInt8(ascii: "s"): return path.equals("/servers") ? .anyKeyServer : .anyBackend
    case UInt8(ascii: "i"): return path.equals("/insights") ? .anyKeyServer : .anyBackend
    case UInt8(ascii: "c"):
      // Without a server it is the results' cache that is meant.
      guard path.equals("/cache/stats"), parameter("server", of: head, in: scratch) != nil else { return .anyBackend }
      return .anyKeyServer
    default: return .anyBackend
    }
  }

  /// The destination of the key that stands, escaped (RFC 3986 §2.1), behind `lead` in `escaped`.
  private func ofKey(_ escaped: UnsafeRawBufferPointer, behind lead: StaticString) -> Destination {
    guard escaped.begins(with: lead) else { return .anyBackend }
    key.count = 0
    var index = lead.utf8CodeUnitCount
    while index < escaped.count {
      guard key.count < key.capacity else { return .anyKeyServer }
      let byte = escaped[index]
      if byte == UInt8(ascii: "%") {
        guard index + 2 < escaped.count, let high = hexadecimalValue(escaped[index + 1]),
          let low = hexadecimalValue(escaped[index + 2])
        else { return .anyKeyServer }
        key.append(byte: high << 4 | low)
        index += 3
      } else {
        if byte == UInt8(ascii: "/") { return .anyKeyServer }
        key.append(byte: byte)
        index += 1
      }
    }
    guard key.count > 0 else { return .anyKeyServer }
    return .partition(Placement.partition(ofKey: key.readable, of: partitions))
  }

  /// The destination of a request for several keys.
  private func ofList(_ head: RequestHead, in scratch: ByteScratch) -> Destination {
    if let text = parameter("partition", of: head, in: scratch) {
      guard let number = Int(text), 0..<partitions ~= number else { return .anyKeyServer }
      return .partition(number)
    }
    let prefix = parameter("prefix", of: head, in: scratch) ?? ""
    return Placement.partition(ofPrefix: Array(prefix.utf8), of: partitions).map(Destination.partition) ?? .anyKeyServer
  }

  /// The value of the query's parameter called `name`, nil if there is none that can be read.
  private func parameter(_ name: String, of head: RequestHead, in scratch: ByteScratch) -> String? {
    scratch.span { bytes in
      var pairs = QueryPairs(bytes, head.query)
      while let pair = pairs.next(bytes) {
        guard (try? percentDecoded(bytes.extracting(pair.name), plusIsSpace: true)) == name else { continue }
        return try? percentDecoded(bytes.extracting(pair.value), plusIsSpace: true)
      }
      return nil
    }
  }
}
