import CPostgres

/// The rows that a statement returned, in binary format, owned by libpq until the last reference goes.
public final class PostgresResult {
  private let pointer: OpaquePointer

  init(_ pointer: OpaquePointer) {
    self.pointer = pointer
  }

  deinit { PQclear(pointer) }

  /// How many rows there are.
  public var rowCount: Int { Int(PQntuples(pointer)) }

  /// Whether the value is null.
  public func isNull(_ row: Int, _ column: Int) -> Bool {
    PQgetisnull(pointer, CInt(row), CInt(column)) == 1
  }

  /// A `bigint`.
  public func int64(_ row: Int, _ column: Int) -> Int64 { integer(row, column) }

  /// An `integer`.
  func int32(_ row: Int, _ column: Int) -> Int32 { integer(row, column) }

  /// A `smallint`.
  public func int16(_ row: Int, _ column: Int) -> Int16 { integer(row, column) }

  /// A `boolean`.
  public func bool(_ row: Int, _ column: Int) -> Bool { withBytes(row, column) { $0.first == 1 } }

  /// A `double precision`.
  public func double(_ row: Int, _ column: Int) -> Double {
    Double(bitPattern: UInt64(bitPattern: int64(row, column)))
  }

  /// A `timestamptz` as microseconds since the Unix epoch (PostgreSQL counts from 2000-01-01); nil if null.
  public func microseconds(_ row: Int, _ column: Int) -> Int64? {
    isNull(row, column) ? nil : int64(row, column) + 946_684_800_000_000
  }

  /// A copy of a `bytea` or `text`; nil if null.
  public func bytes(_ row: Int, _ column: Int) -> [UInt8]? {
    isNull(row, column) ? nil : withBytes(row, column) { Array($0) }
  }

  /// A `text`; nil if null.
  public func text(_ row: Int, _ column: Int) -> String? {
    isNull(row, column) ? nil : withBytes(row, column) { String(decoding: $0, as: UTF8.self) }
  }

  /// Calls `body` with the value's bytes, none for null; they are valid only inside it.
  func withBytes<R>(_ row: Int, _ column: Int, _ body: (UnsafeRawBufferPointer) -> R) -> R {
    precondition(row < rowCount && column < Int(PQnfields(pointer)), "row or column outside the result")
    let length = Int(PQgetlength(pointer, CInt(row), CInt(column)))
    return body(UnsafeRawBufferPointer(start: PQgetvalue(pointer, CInt(row), CInt(column)), count: length))
  }

  private func integer<T: FixedWidthInteger>(_ row: Int, _ column: Int) -> T {
    withBytes(row, column) { bytes in
      precondition(bytes.count == T.bitWidth / 8, "column \(column) is no \(T.bitWidth)-bit integer")
      return T(bigEndian: bytes.loadUnaligned(as: T.self))
    }
  }
}
