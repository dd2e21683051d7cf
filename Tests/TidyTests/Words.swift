/// The identifiers, keywords and numbers of a piece of code, in their order.
struct Words: Sequence, IteratorProtocol {
  private let bytes: [UInt8]
  private var position = 0

  init(_ text: String) {
    bytes = Array(text.utf8)
  }

  mutating func next() -> String? {
    while position < bytes.count, !Self.isPart(bytes[position]) { position += 1 }
    let start = position
    while position < bytes.count, Self.isPart(bytes[position]) { position += 1 }
    return start == position ? nil : String(decoding: bytes[start..<position], as: UTF8.self)
  }

  /// The words of a piece of code but for what stands in quotation marks.
  static func outsideStrings(_ text: String) -> [String] {
    text.split(separator: "\"", omittingEmptySubsequences: false).enumerated()
      .filter { $0.offset.isMultiple(of: 2) }.flatMap { Words(String($0.element)) }
  }

  /// The words of a declaration but for the labels of its parameters: those stand before a colon.
  static func withoutLabels(_ text: String) -> [String] {
    let pieces = text.split(separator: ":", omittingEmptySubsequences: false)
    return pieces.enumerated().flatMap { number, piece -> [String] in
      let words = Array(Words(String(piece)))
      guard number < pieces.count - 1 else { return words }
      // `label name: Type`, `name: Type`, and the name of what is declared itself.
      let last = piece.split { $0 == "," || $0 == "(" }.last.map { Array(Words(String($0))) } ?? []
      return Array(words.dropLast(last.count <= 2 ? last.count : 1))
    }
  }

  private static func isPart(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), 0x80...:
      true
    default: false
    }
  }
}
