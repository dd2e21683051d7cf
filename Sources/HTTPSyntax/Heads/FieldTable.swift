import Glibc

/// The fields of one head and what they say about framing and the connection, filled line by line. Requests and
/// responses share it; what differs stands in `RequestHead` and `ResponseHead`.
///
/// A line is looked at only once its end has arrived (`memchr` finds it), and the table remembers how far it came, so a
/// head that comes in single bytes costs no more than linear time.
struct FieldTable: ~Copyable {
  private(set) var count = 0
  /// Room for `HTTPLimits.fieldsMax` fields, of which the first `count` are set. Behind a pointer, because an
  /// `InlineArray` in here was copied as a whole by every look at one field; the subscript checks its bounds.
  private let fields = UnsafeMutablePointer<HeadField>.allocate(capacity: HTTPLimits.fieldsMax)

  /// Where the line that is awaited begins.
  var lineStart = 0
  /// Up to where no line end was found.
  private var scanned = 0

  private(set) var hostField = -1
  private(set) var hostCount = 0
  private(set) var contentLength = -1
  private(set) var contentLengthCount = 0
  private(set) var transferEncodingCount = 0
  private(set) var isChunked = false
  /// How often `chunked` stands among the transfer codings, whether it is the last one, and how many there are.
  private var chunkedCount = 0
  private var isChunkedLast = false
  private var codingCount = 0
  private(set) var hasClose = false
  private(set) var hasKeepAlive = false
  /// Whether Connection names fields other than the ones that are dropped anyway.
  private(set) var namesHopByHopFields = false
  private(set) var expectsContinue = false
  private(set) var hasOtherExpectation = false

  deinit { fields.deallocate() }

  /// What one line turned out to be.
  enum Line: Equatable {
    case field
    case endOfHead
    case malformed(HeadError)
  }

  /// Where the awaited line ends.
  enum LineEnd: Equatable {
    /// The line's bytes end before `end`, and the next line begins at `next`.
    case found(end: Int, next: Int)
    case missing
    case malformed(HeadError)
  }

  /// Forgets everything but the storage.
  mutating func reset() {
    count = 0
    lineStart = 0
    scanned = 0
    hostField = -1
    hostCount = 0
    contentLength = -1
    contentLengthCount = 0
    transferEncodingCount = 0
    isChunked = false
    chunkedCount = 0
    isChunkedLast = false
    codingCount = 0
    hasClose = false
    hasKeepAlive = false
    namesHopByHopFields = false
    expectsContinue = false
    hasOtherExpectation = false
  }

  subscript(_ index: Int) -> HeadField {
    precondition(index >= 0 && index < count, "a head has \(count) fields, asked for number \(index)")
    return fields[index]
  }

  /// The first field that is `known`, -1 if there is none.
  func index(of known: KnownField) -> Int {
    for index in 0..<count where fields[index].known == known { return index }
    return -1
  }

  /// Looks for the end of the line that begins at `lineStart`; `tooLong` is the error when it passes `limit`.
  @inline(__always)
  mutating func findLineEnd(_ bytes: Span<UInt8>, limit: Int, tooLong: HeadError) -> LineEnd {
    let feed = FieldTable.indexOfLineFeed(bytes, from: max(scanned, lineStart))
    guard feed >= 0 else {
      scanned = bytes.count
      return bytes.count > limit ? .malformed(tooLong) : .missing
    }
    if feed >= limit { return .malformed(tooLong) }
    guard feed > lineStart, bytes[feed - 1] == UInt8(ascii: "\r") else { return .malformed(.bareLineFeed) }
    return .found(end: feed - 1, next: feed + 1)
  }

  @inline(__always)
  private static func indexOfLineFeed(_ bytes: Span<UInt8>, from start: Int) -> Int {
    guard start < bytes.count else { return -1 }
    // memchr is vectorised; a checked loop over the same bytes took as long as all the rest of the parse.
    return bytes.withUnsafeBufferPointer { buffer in
      guard let found = memchr(buffer.baseAddress! + start, 0x0A, buffer.count - start) else { return -1 }
      return UnsafeRawPointer(found) - UnsafeRawPointer(buffer.baseAddress!)
    }
  }

  /// Takes the line `bytes[lineStart..<end]`, whose successor begins at `next`.
  mutating func takeLine(_ bytes: Span<UInt8>, end: Int, next: Int) -> Line {
    // What is looked at below stands between these two, and a name ends at the carriage return at the latest.
    precondition(lineStart <= end && end < bytes.count && bytes[end] == UInt8(ascii: "\r"), "no line of these bytes")
    let start = lineStart
    lineStart = next
    if start == end { return .endOfHead }
    var nameEnd = FieldTable.skipUsualName(bytes, from: start)
    while nameEnd < end, ByteClass.token.contains(bytes[unchecked: nameEnd]) { nameEnd += 1 }
    guard nameEnd > start, nameEnd < end, bytes[nameEnd] == UInt8(ascii: ":") else {
      return .malformed(FieldTable.nameError(bytes, start: start, nameEnd: nameEnd, end: end))
    }
    var valueStart = nameEnd + 1
    var valueEnd = end
    while valueStart < valueEnd, ByteClass.isBlank(bytes[unchecked: valueStart]) { valueStart += 1 }
    while valueEnd > valueStart, ByteClass.isBlank(bytes[unchecked: valueEnd - 1]) { valueEnd -= 1 }
    if let error = FieldTable.valueError(bytes, valueStart, valueEnd) { return .malformed(error) }
    if count == HTTPLimits.fieldsMax { return .malformed(.tooManyFields) }
    let known = KnownField.recognise(bytes, start, nameEnd)
    (fields + count).initialize(
      to: HeadField(
        nameStart: UInt16(start), nameEnd: UInt16(nameEnd), valueStart: UInt16(valueStart),
        valueEnd: UInt16(valueEnd), known: known))
    count += 1
    guard let error = note(known, bytes, valueStart, valueEnd) else { return .field }
    return .malformed(error)
  }

  /// Skips letters and `-` eight bytes at a time, which is what nearly all names are made of; what it leaves is looked
  /// at byte by byte. The line's end is neither, so it stops there at the latest.
  @inline(__always)
  private static func skipUsualName(_ bytes: Span<UInt8>, from start: Int) -> Int {
    let ones: UInt64 = 0x0101_0101_0101_0101
    let tops: UInt64 = 0x8080_8080_8080_8080
    let raw = bytes.bytes
    var position = start
    while position + 8 <= bytes.count {
      let word = raw.unsafeLoadUnaligned(fromByteOffset: position, as: UInt64.self)
      let folded = (word | ones &* 0x20) & ~tops
      // A byte's top bit is set where it is at least `a`, and where it is more than `z`.
      let letters = (folded &+ ones &* (0x80 - 0x61)) & ~(folded &+ ones &* (0x80 - 0x7B))
      let dash = word ^ (ones &* 0x2D)
      let dashes = ~(((dash & ~tops) &+ ones &* 0x7F) | dash)
      let others = ~((letters | dashes) & ~word) & tops
      if others != 0 { return position + others.trailingZeroBitCount / 8 }
      position += 8
    }
    return position
  }

  private static func nameError(_ bytes: Span<UInt8>, start: Int, nameEnd: Int, end: Int) -> HeadError {
    if nameEnd == end { return .invalidFieldName }
    switch bytes[nameEnd] {
    case 0x20, 0x09: return nameEnd == start ? .foldedLine : .spaceBeforeColon
    case UInt8(ascii: ":"): return .emptyFieldName
    case UInt8(ascii: "\r"): return .bareCarriageReturn
    default: return .invalidFieldName
    }
  }

  /// Refuses control characters; eight bytes a step while there are none ("Bit Twiddling Hacks", S. E. Anderson:
  /// whether a word has a byte less than n, and whether it has a zero byte).
  @inline(__always)
  private static func valueError(_ bytes: Span<UInt8>, _ start: Int, _ end: Int) -> HeadError? {
    let ones: UInt64 = 0x0101_0101_0101_0101
    let tops: UInt64 = 0x8080_8080_8080_8080
    let raw = bytes.bytes
    var index = start
    while index < end, index + 8 <= bytes.count {
      var word = raw.unsafeLoadUnaligned(fromByteOffset: index, as: UInt64.self)
      // What stands behind the value does not count: spaces take its place.
      if end - index < 8 {
        let behind = ~UInt64(0) &<< UInt64((end - index) * 8)
        word = word & ~behind | (ones &* 0x20) & behind
      }
      let control = (word &- ones &* 0x20) & ~word & tops
      let deletion = word ^ (ones &* 0x7F)
      if control | ((deletion &- ones) & ~deletion & tops) != 0 { break }
      index += 8
    }
    while index < end {
      let byte = bytes[index]
      if byte < 0x20 && byte != 0x09 || byte == 0x7F {
        return byte == UInt8(ascii: "\r") ? .bareCarriageReturn : .invalidFieldValue
      }
      index += 1
    }
    return nil
  }

  /// Keeps what a field says about the message as a whole.
  @inline(__always)
  private mutating func note(_ known: KnownField, _ bytes: Span<UInt8>, _ start: Int, _ end: Int) -> HeadError? {
    switch known {
    case .host:
      hostCount += 1
      hostField = count - 1
    case .contentLength:
      contentLengthCount += 1
      guard let length = decimal(bytes, start, end) else { return .invalidContentLength }
      contentLength = length
    case .transferEncoding:
      transferEncodingCount += 1
      noteTransferCodings(bytes, start, end)
    case .connection:
      return noteConnection(bytes, start, end)
    case .expect:
      if equals(bytes, start, end, "100-continue") { expectsContinue = true } else { hasOtherExpectation = true }
    default: break
    }
    return nil
  }

  private mutating func noteTransferCodings(_ bytes: Span<UInt8>, _ start: Int, _ end: Int) {
    isChunkedLast = false
    var members = ListMembers(start: start, end: end)
    while let member = members.next(bytes) {
      isChunkedLast = equals(bytes, member.lowerBound, member.upperBound, "chunked")
      codingCount += 1
      if isChunkedLast { chunkedCount += 1 }
    }
    isChunked = isChunkedLast && codingCount == 1
  }

  private mutating func noteConnection(_ bytes: Span<UInt8>, _ start: Int, _ end: Int) -> HeadError? {
    // Nearly always it is this one word. Values hold no control characters, so none is taken for its `-`.
    if equals(bytes, start, end, "keep-alive") {
      hasKeepAlive = true
      return nil
    }
    var members = ListMembers(start: start, end: end)
    while let member = members.next(bytes) {
      for index in member where !ByteClass.token.contains(bytes[index]) { return .invalidConnection }
      if equals(bytes, member.lowerBound, member.upperBound, "close") {
        hasClose = true
      } else if equals(bytes, member.lowerBound, member.upperBound, "keep-alive") {
        hasKeepAlive = true
      } else if !KnownField.recognise(bytes, member.lowerBound, member.upperBound).isHopByHop {
        namesHopByHopFields = true
      }
    }
    return nil
  }

  /// Whether a Connection field names the field `name`.
  func connectionNames(_ name: Range<Int>, in bytes: Span<UInt8>) -> Bool {
    for index in 0..<count where fields[index].known == .connection {
      var members = ListMembers(start: Int(fields[index].valueStart), end: Int(fields[index].valueEnd))
      while let member = members.next(bytes) {
        guard member.count == name.count else { continue }
        if isSame(bytes, member.lowerBound, name.lowerBound, count: name.count) { return true }
      }
    }
    return false
  }

  /// The error in the framing fields that both kinds of message refuse (RFC 9112 §6.1 and §6.3).
  func framingError(isOldVersion: Bool) -> HeadError? {
    if transferEncodingCount > 0 {
      if contentLengthCount > 0 { return .contentLengthWithTransferEncoding }
      if isOldVersion { return .transferEncodingInOldVersion }
      // Without chunked as the last coding the body has no end that both sides agree on (RFC 9112 §6.3, number 4).
      if !isChunkedLast || chunkedCount > 1 { return .chunkedNotLast }
      if !isChunked || transferEncodingCount > 1 { return .unsupportedTransferCoding }
    }
    return contentLengthCount > 1 ? .repeatedContentLength : nil
  }
}
