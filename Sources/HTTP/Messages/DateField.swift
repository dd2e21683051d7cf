public import Basics

/// The line `Date: Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 §6.6.1), rendered at most once a second.
public struct DateField {
  private var second: Int64 = .min
  /// The line with its CRLF.
  public private(set) var line: [UInt8] = []

  /// A line that has not been rendered.
  public init() {}

  /// Renders the line anew if `time` lies in another second than before.
  public mutating func update(_ time: Timestamp) {
    let now = time.microseconds / 1_000_000
    guard now != second else { return }
    second = now
    let days = now / 86_400
    let date = Timestamp.civil(fromDays: days)
    let names: StaticString = "ThuFriSatSunMonTueWed"
    let months: StaticString = "JanFebMarAprMayJunJulAugSepOctNovDec"
    line.removeAll(keepingCapacity: true)
    line.append("Date: ")
    append(names, Int(days % 7))
    line.append(", ")
    append(date.day)
    line.append(" ")
    append(months, Int(date.month) - 1)
    line.append(" ")
    line.append(decimal: Int(date.year))
    for (separator, part) in [(0x20, now / 3600 % 24), (0x3A, now / 60 % 60), (0x3A, now % 60)] as [(UInt8, Int64)] {
      line.append(separator)
      append(part)
    }
    line.append(" GMT\r\n")
  }

  private mutating func append(_ names: StaticString, _ index: Int) {
    line.append(contentsOf: UnsafeBufferPointer(start: names.utf8Start + 3 * index, count: 3))
  }

  private mutating func append(_ number: Int64) {
    line.append(UInt8(ascii: "0") + UInt8(number / 10))
    line.append(UInt8(ascii: "0") + UInt8(number % 10))
  }
}
