/// Puts the values of variables into a text, as Docker Compose does in a `.env` file.
///
/// | written | means |
/// |---|---|
/// | `$NAME`, `${NAME}` | the value, nothing if it is not set |
/// | `${NAME:-text}`, `${NAME-text}` | the value, or `text` if it is not set; with the colon also if it is empty |
/// | `${NAME:+text}`, `${NAME+text}` | `text` if it is set, with the colon: and not empty; nothing otherwise |
/// | `${NAME:?text}`, `${NAME?text}` | the value, or an error with `text` |
/// | `$$` | `$` |
struct Interpolation {
  /// What is wrong, in words for a person; never a value, which may be a secret.
  struct Problem: Error {
    let reason: String
  }

  /// How many variables may stand in each other's defaults.
  private static let depthMax = 16

  /// Whether `\n`, `\r`, `\t`, `\"`, `\\` and `\$` mean what they mean to a shell.
  let hasEscapes: Bool
  /// The value of a variable, nil if it is not set.
  let value: (String) -> String?

  /// `text` with everything replaced.
  func expand(_ text: ArraySlice<UInt8>) throws(Problem) -> [UInt8] {
    try expand(text, depth: 0)
  }

  private func expand(_ text: ArraySlice<UInt8>, depth: Int) throws(Problem) -> [UInt8] {
    guard depth < Interpolation.depthMax else { throw Problem(reason: "too many variables in each other's defaults") }
    var result: [UInt8] = []
    var rest = text
    while let byte = rest.popFirst() {
      if byte == UInt8(ascii: "\\"), hasEscapes, let next = rest.first, let meaning = Interpolation.escape(next) {
        result.append(meaning)
        rest.removeFirst()
      } else if byte == UInt8(ascii: "$") {
        result += try variable(&rest, depth)
      } else {
        result.append(byte)
      }
    }
    return result
  }

  private static func escape(_ byte: UInt8) -> UInt8? {
    switch byte {
    case UInt8(ascii: "n"): 0x0A
    case UInt8(ascii: "r"): 0x0D
    case UInt8(ascii: "t"): 0x09
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "$"): byte
    default: nil
    }
  }

  /// What stands for the text behind a `$`, which is taken from `rest`.
  private func variable(_ rest: inout ArraySlice<UInt8>, _ depth: Int) throws(Problem) -> [UInt8] {
    if rest.first == UInt8(ascii: "$") {
      rest.removeFirst()
      return [UInt8(ascii: "$")]
    }
    guard rest.first == UInt8(ascii: "{") else {
      let name = Interpolation.name(&rest)
      guard !name.isEmpty else { throw Interpolation.stray }
      return Array((value(name) ?? "").utf8)
    }
    guard let end = Interpolation.end(of: rest) else { throw Problem(reason: "a ${ without its }") }
    var inside = rest[rest.index(after: rest.startIndex)..<end]
    rest = rest[rest.index(after: end)...]
    let name = Interpolation.name(&inside)
    guard !name.isEmpty else { throw Interpolation.stray }
    let found = value(name)
    let wantsText = inside.first == UInt8(ascii: ":")
    if wantsText { inside.removeFirst() }
    let counts = wantsText ? found?.isEmpty == false : found != nil
    let present = Array((found ?? "").utf8)
    switch inside.popFirst() {
    case nil where !wantsText: return present
    case UInt8(ascii: "-"): return counts ? present : try expand(inside, depth: depth + 1)
    case UInt8(ascii: "+"): return counts ? try expand(inside, depth: depth + 1) : []
    case UInt8(ascii: "?"):
      if counts { return present }
      let reason = String(decoding: try expand(inside, depth: depth + 1), as: UTF8.self)
      throw Problem(reason: "\(name) is not set" + (reason.isEmpty ? "" : ": \(reason)"))
    default: throw Problem(reason: "behind ${\(name) there is none of } :- - :+ + :? ?")
    }
  }

  private static let stray = Problem(
    reason: "a $ without a name; one that stands for itself is written $$, or the value in single quotes")

  private static func name(_ rest: inout ArraySlice<UInt8>) -> String {
    let name = rest.prefix { DotEnv.isOfName($0) }
    guard let first = name.first, !(0x30...0x39 ~= first) else { return "" }
    rest = rest[name.endIndex...]
    return String(decoding: name, as: UTF8.self)
  }

  /// Where the `}` is that belongs to the `{` at the beginning of `text`.
  private static func end(of text: ArraySlice<UInt8>) -> Int? {
    var depth = 0
    for index in text.indices {
      if text[index] == UInt8(ascii: "{") { depth += 1 }
      if text[index] == UInt8(ascii: "}") {
        depth -= 1
        if depth == 0 { return index }
      }
    }
    return nil
  }
}
