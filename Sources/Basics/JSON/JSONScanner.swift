/// Reads JSON (RFC 8259) on request paths: forwards once over the bytes, into the fields the caller asks for, without a
/// tree and without `String`. Strict: UTF-8 must be well-formed, surrogates paired, a wanted field may come once, and
/// nothing may follow.
///
///     let text = try JSONScanner.read(body) { (scanner: inout JSONScanner) throws(JSONError) in
///       var text: [UInt8]?
///       try scanner.object(Self.fields) { (scanner, _) throws(JSONError) in text = try scanner.string() }
///       return try scanner.required(text, "string")
///     }
public struct JSONScanner {
  /// How deep arrays and objects may be nested.
  static let depthMax = 64

  let bytes: [UInt8]
  var position = 0
  private var depth = 0
  /// The field that is being read, for errors.
  private var field: StaticString = ""

  /// A scanner at the beginning of `bytes`. `read` is the better beginning: it also checks the end.
  public init(_ bytes: [UInt8]) {
    self.bytes = bytes
  }

  /// Reads the whole of `bytes` with `body`. A text that is no JSON is told as such even if `body` stumbled first over
  /// a shape it did not expect.
  public static func read<T>(
    _ bytes: [UInt8], _ body: (inout JSONScanner) throws(JSONError) -> T
  ) throws(JSONError) -> T {
    var scanner = JSONScanner(bytes)
    do {
      let result = try body(&scanner)
      try scanner.end()
      return result
    } catch {
      if error.kind == .wrongShape {
        var checker = JSONScanner(bytes)
        try checker.skip()
        try checker.end()
      }
      throw error
    }
  }

  /// What kind of value stands next.
  public enum Kind: Sendable {
    /// The six kinds of RFC 8259 §3.
    case object, array, string, number, bool, null
  }

  /// The kind of the next value, judged by its first byte.
  public mutating func peek() throws(JSONError) -> Kind {
    skipBlanks()
    switch current {
    case UInt8(ascii: "{"): return .object
    case UInt8(ascii: "["): return .array
    case UInt8(ascii: "\""): return .string
    case UInt8(ascii: "t"), UInt8(ascii: "f"): return .bool
    case UInt8(ascii: "n"): return .null
    case .some(UInt8(ascii: "-")), .some(0x30...0x39): return .number
    case nil: throw notJSON("a value is missing")
    default: throw notJSON("this is no value")
    }
  }

  /// Reads an object: calls `body` before the value of each wanted field with the field's position in `fields`; `body`
  /// must read that value. Other fields are skipped, or are of the wrong shape if it `isExact`.
  public mutating func object(
    _ fields: JSONFields, isExact: Bool = false, _ body: (inout JSONScanner, Int) throws(JSONError) -> Void
  ) throws(JSONError) {
    try expect(.object, "an object was expected")
    let outer = field
    var seen: UInt64 = 0
    if try enter(closing: UInt8(ascii: "}")) { return }
    repeat {
      let index = try key(fields)
      guard index >= 0 else {
        if isExact { throw wrongShape("no other field was expected") }
        try skip()
        continue
      }
      field = fields.names[index]
      if seen & (1 << UInt64(index)) != 0 { throw wrongShape("the field is repeated") }
      seen |= 1 << UInt64(index)
      try body(&self, index)
      field = outer
    } while try goOn(closing: UInt8(ascii: "}"))
  }

  /// Reads an array: calls `body` before each element; `body` must read it.
  public mutating func array(_ body: (inout JSONScanner) throws(JSONError) -> Void) throws(JSONError) {
    try expect(.array, "an array was expected")
    if try enter(closing: UInt8(ascii: "]")) { return }
    repeat { try body(&self) } while try goOn(closing: UInt8(ascii: "]"))
  }

  /// Reads a string and returns its decoded UTF-8.
  public mutating func string() throws(JSONError) -> [UInt8] {
    try expect(.string, "a string was expected")
    return try decodeString()
  }

  /// Reads `true` or `false`.
  public mutating func bool() throws(JSONError) -> Bool {
    try expect(.bool, "true or false was expected")
    let value = current == UInt8(ascii: "t")
    try literal(value ? "true" : "false")
    return value
  }

  /// Reads `null` if it stands next, and tells whether it did.
  public mutating func null() throws(JSONError) -> Bool {
    guard try peek() == .null else { return false }
    try literal("null")
    return true
  }

  /// Reads a number without fraction and exponent that fits in 64 bits.
  public mutating func integer() throws(JSONError) -> Int {
    try expect(.number, "a whole number was expected")
    let range = try number()
    var value = 0
    let isNegative = bytes[range.lowerBound] == UInt8(ascii: "-")
    for index in range.dropFirst(isNegative ? 1 : 0) {
      guard let digit = digit(at: index) else { throw wrongShape("a whole number was expected") }
      let (product, overflow) = value.multipliedReportingOverflow(by: 10)
      let (sum, overflowToo) = product.subtractingReportingOverflow(digit)
      if overflow || overflowToo { throw wrongShape("the number is too large") }
      value = sum
    }
    if isNegative { return value }
    if value == .min { throw wrongShape("the number is too large") }
    return -value
  }

  /// Reads a number.
  public mutating func double() throws(JSONError) -> Double {
    try expect(.number, "a number was expected")
    let range = try number()
    guard let value = Double(String(decoding: bytes[range], as: UTF8.self)), value.isFinite else {
      throw wrongShape("the number is too large")
    }
    return value
  }

  /// Skips a value, checked as strictly as one that is read, and returns its bytes.
  @discardableResult
  public mutating func skip() throws(JSONError) -> ArraySlice<UInt8> {
    let kind = try peek()
    let start = position
    switch kind {
    case .object:
      if try enter(closing: UInt8(ascii: "}")) { break }
      repeat {
        _ = try key(JSONFields())
        try skip()
      } while try goOn(closing: UInt8(ascii: "}"))
    case .array:
      if try enter(closing: UInt8(ascii: "]")) { break }
      repeat { try skip() } while try goOn(closing: UInt8(ascii: "]"))
    case .string: try skipString()
    case .number: _ = try number()
    case .bool: _ = try bool()
    case .null: _ = try null()
    }
    return bytes[start..<position]
  }

  /// Checks that nothing but white space follows.
  public mutating func end() throws(JSONError) {
    skipBlanks()
    if position < bytes.count { throw notJSON("something follows the value") }
  }

  /// `value`, or the error that says that the field `name` is missing.
  public func required<T>(_ value: T?, _ name: StaticString) throws(JSONError) -> T {
    if let value { return value }
    throw JSONError(kind: .wrongShape, offset: position, reason: "the field is missing", field: name)
  }

  /// The error for a value that was read but is not acceptable, in the field that is being read.
  public func wrongShape(_ reason: StaticString) -> JSONError {
    JSONError(kind: .wrongShape, offset: position, reason: reason, field: field)
  }

  // MARK: Pieces

  var current: UInt8? { position < bytes.count ? bytes[position] : nil }

  func notJSON(_ reason: StaticString) -> JSONError {
    JSONError(kind: .notJSON, offset: position, reason: reason)
  }

  private mutating func expect(_ kind: Kind, _ reason: StaticString) throws(JSONError) {
    if try peek() != kind { throw wrongShape(reason) }
  }

  private mutating func skipBlanks() {
    while position < bytes.count {
      switch bytes[position] {
      case 0x20, 0x09, 0x0A, 0x0D: position += 1
      default: return
      }
    }
  }

  /// Goes past an opening bracket and tells whether the closing one follows at once.
  private mutating func enter(closing: UInt8) throws(JSONError) -> Bool {
    position += 1
    depth += 1
    if depth > JSONScanner.depthMax { throw notJSON("the nesting is too deep") }
    skipBlanks()
    guard current == closing else { return false }
    position += 1
    depth -= 1
    return true
  }

  /// Goes past a comma, or past the closing bracket and then tells false.
  private mutating func goOn(closing: UInt8) throws(JSONError) -> Bool {
    skipBlanks()
    if current == UInt8(ascii: ",") {
      position += 1
      return true
    }
    guard current == closing else { throw notJSON("a comma or a closing bracket is missing") }
    position += 1
    depth -= 1
    return false
  }

  /// Reads a key and its colon; the key's position in `fields`, -1 for any other.
  private mutating func key(_ fields: JSONFields) throws(JSONError) -> Int {
    skipBlanks()
    guard current == UInt8(ascii: "\"") else { throw notJSON("a field's name is missing") }
    let start = position + 1
    let hasEscapes = try skipString()
    let end = position - 1
    skipBlanks()
    guard current == UInt8(ascii: ":") else { throw notJSON("a colon is missing") }
    position += 1
    if fields.names.isEmpty { return -1 }
    if !hasEscapes { return match(bytes[start..<end], fields) }
    var again = JSONScanner(bytes)
    again.position = start - 1
    return match(try again.decodeString()[...], fields)
  }

  private func match(_ name: ArraySlice<UInt8>, _ fields: JSONFields) -> Int {
    for (index, wanted) in fields.names.enumerated() where wanted.utf8CodeUnitCount == name.count {
      if name.elementsEqual(UnsafeBufferPointer(start: wanted.utf8Start, count: name.count)) { return index }
    }
    return -1
  }

  private mutating func literal(_ text: StaticString) throws(JSONError) {
    for offset in 0..<text.utf8CodeUnitCount {
      guard current == text.utf8Start[offset] else { throw notJSON("this is no value") }
      position += 1
    }
  }

  private func digit(at index: Int) -> Int? {
    guard index < bytes.count else { return nil }
    let digit = bytes[index] &- 0x30
    return digit <= 9 ? Int(digit) : nil
  }

  /// Goes past a number (RFC 8259 §6).
  private mutating func number() throws(JSONError) -> Range<Int> {
    let start = position
    if current == UInt8(ascii: "-") { position += 1 }
    if current == UInt8(ascii: "0") { position += 1 } else { try digits() }
    if digit(at: position) != nil { throw notJSON("a number begins with 0") }
    if current == UInt8(ascii: ".") {
      position += 1
      try digits()
    }
    if current == UInt8(ascii: "e") || current == UInt8(ascii: "E") {
      position += 1
      if current == UInt8(ascii: "+") || current == UInt8(ascii: "-") { position += 1 }
      try digits()
    }
    return start..<position
  }

  private mutating func digits() throws(JSONError) {
    guard digit(at: position) != nil else { throw notJSON("a digit is missing") }
    while digit(at: position) != nil { position += 1 }
  }
}
