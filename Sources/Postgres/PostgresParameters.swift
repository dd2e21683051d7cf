/// The parameters of one execution, in PostgreSQL's binary format (big-endian; arrays with one dimension), in the order
/// of `$1`, `$2`, ….
public struct PostgresParameters {
  /// Object identifiers of the element types, `pg_type.dat`.
  private enum Oid {
    static let bytea: Int32 = 17
    static let int8: Int32 = 20
    static let int2: Int32 = 21
    static let text: Int32 = 25
    static let float8: Int32 = 701
    static let uuid: Int32 = 2950
  }

  private(set) var values: [[UInt8]?] = []

  /// No parameters yet.
  public init() {}

  /// A `bigint`.
  public mutating func add(_ value: Int64) { values.append(PostgresParameters.bigEndian(value)) }

  /// A `smallint`.
  public mutating func add(_ value: Int16) { values.append(PostgresParameters.bigEndian(value)) }

  /// An `integer`.
  public mutating func add(_ value: Int32) { values.append(PostgresParameters.bigEndian(value)) }

  /// A `double precision`.
  public mutating func add(_ value: Double) {
    values.append(PostgresParameters.bigEndian(Int64(bitPattern: value.bitPattern)))
  }

  /// A `text` of UTF-8 bytes without NUL, or null.
  public mutating func add(text value: String?) { values.append(value.map { Array($0.utf8) }) }

  /// A `bigint[]`.
  public mutating func add(_ array: [Int64]) {
    values.append(PostgresParameters.fixedArray(array, of: Oid.int8))
  }

  /// A `smallint[]`.
  public mutating func add(_ array: [Int16]) {
    values.append(PostgresParameters.fixedArray(array, of: Oid.int2))
  }

  /// A `double precision[]`.
  public mutating func add(_ array: [Double]) {
    values.append(PostgresParameters.fixedArray(array.map { Int64(bitPattern: $0.bitPattern) }, of: Oid.float8))
  }

  /// A `text[]`; elements may be null.
  public mutating func add(texts array: [String?]) {
    values.append(PostgresParameters.variableArray(array.map { $0.map { Array($0.utf8) } }, of: Oid.text))
  }

  /// A `bytea[]`; elements may be null.
  public mutating func add(byteArrays array: [[UInt8]?]) {
    values.append(PostgresParameters.variableArray(array, of: Oid.bytea))
  }

  /// A `uuid[]`, each of two words, the first eight bytes first; elements may be null.
  public mutating func add(uuids array: [(UInt64, UInt64)?]) {
    let bytes = array.map { words in
      words.map { PostgresParameters.bigEndian($0.0) + PostgresParameters.bigEndian($0.1) }
    }
    values.append(PostgresParameters.variableArray(bytes, of: Oid.uuid))
  }

  private static func bigEndian<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
    withUnsafeBytes(of: value.bigEndian) { Array($0) }
  }

  private static func header(count: Int, hasNulls: Bool, of element: Int32, into bytes: inout [UInt8]) {
    bytes += bigEndian(Int32(count == 0 ? 0 : 1))
    bytes += bigEndian(Int32(hasNulls ? 1 : 0))
    bytes += bigEndian(element)
    if count > 0 {
      bytes += bigEndian(Int32(count))
      bytes += bigEndian(Int32(1))
    }
  }

  private static func fixedArray<T: FixedWidthInteger>(_ array: [T], of element: Int32) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(20 + array.count * (4 + T.bitWidth / 8))
    header(count: array.count, hasNulls: false, of: element, into: &bytes)
    let width = Int32(T.bitWidth / 8)
    for value in array {
      withUnsafeBytes(of: width.bigEndian) { bytes.append(contentsOf: $0) }
      withUnsafeBytes(of: value.bigEndian) { bytes.append(contentsOf: $0) }
    }
    return bytes
  }

  private static func variableArray(_ array: [[UInt8]?], of element: Int32) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(20 + array.reduce(0) { $0 + 4 + ($1?.count ?? 0) })
    header(count: array.count, hasNulls: array.contains { $0 == nil }, of: element, into: &bytes)
    for value in array {
      withUnsafeBytes(of: Int32(value?.count ?? -1).bigEndian) { bytes.append(contentsOf: $0) }
      if let value { bytes += value }
    }
    return bytes
  }
}
