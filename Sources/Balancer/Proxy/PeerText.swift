import Basics

/// A client's address in text, as it stands in `X-Forwarded-For`. One of up to 15 bytes, so any of IPv4, stands in the
/// value itself, since every idle connection has one.
enum PeerText {
  /// The bytes, the first one in the lowest byte of `low`, and how many there are in the highest byte of `high`.
  case short(low: UInt64, high: UInt64)
  case long([UInt8])

  init(_ text: String) {
    let bytes = Array(text.utf8)
    guard bytes.count <= 15 else {
      self = .long(bytes)
      return
    }
    func word(_ bytes: ArraySlice<UInt8>) -> UInt64 {
      bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }
    self = .short(low: word(bytes.prefix(8)), high: word(bytes.dropFirst(8)) | UInt64(bytes.count) << 56)
  }

  func write(to scratch: ByteScratch) {
    switch self {
    case .short(let low, let high):
      let count = Int(high >> 56)
      scratch.append(word: low, min(count, 8))
      if count > 8 { scratch.append(word: high, count - 8) }
    case .long(let bytes): scratch.append(bytes)
    }
  }

  var text: String {
    let scratch = ByteScratch(capacity: 64)
    write(to: scratch)
    return String(decoding: scratch.readable, as: UTF8.self)
  }
}
