import CLinux
import Glibc

/// A wall-clock time in microseconds since 1970-01-01T00:00:00Z, as clients read it. Never used to decide a lease or a
/// deadline: those belong to PostgreSQL's clock and to `MonotonicTime`.
public struct Timestamp: Hashable, Sendable {
  /// Microseconds since the Unix epoch, negative before it.
  public var microseconds: Int64

  /// The time `microseconds` after the Unix epoch.
  public init(microseconds: Int64) {
    self.microseconds = microseconds
  }

  /// Reads the wall clock.
  public static func current() -> Timestamp {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return Timestamp(microseconds: Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1000)
  }

  /// Seconds since the Unix epoch, negative before it, as tokens have them.
  public var seconds: Double { Double(microseconds) / 1_000_000 }

  /// RFC 3339 in UTC with microseconds, `2026-01-31T12:00:00.000001Z`: 27 bytes for years 0 to 9999.
  public var rfc3339: [UInt8] {
    let seconds = microseconds >= 0 ? microseconds / 1_000_000 : (microseconds - 999_999) / 1_000_000
    let fraction = microseconds - seconds * 1_000_000
    let days = seconds >= 0 ? seconds / 86_400 : (seconds - 86_399) / 86_400
    let second = seconds - days * 86_400
    let (year, month, day) = Timestamp.civil(fromDays: days)
    var text: [UInt8] = []
    text.reserveCapacity(27)
    func put(_ value: Int64, _ width: Int) {
      var divisor: Int64 = 1
      for _ in 1..<width { divisor *= 10 }
      while divisor > 0 {
        text.append(0x30 + UInt8(value / divisor % 10))
        divisor /= 10
      }
    }
    put(year, 4)
    text.append(UInt8(ascii: "-"))
    put(month, 2)
    text.append(UInt8(ascii: "-"))
    put(day, 2)
    text.append(UInt8(ascii: "T"))
    put(second / 3600, 2)
    text.append(UInt8(ascii: ":"))
    put(second / 60 % 60, 2)
    text.append(UInt8(ascii: ":"))
    put(second % 60, 2)
    text.append(UInt8(ascii: "."))
    put(fraction, 6)
    text.append(UInt8(ascii: "Z"))
    return text
  }

  /// The time that `text` tells by RFC 3339 §5.6, `2026-01-31T12:00:00.5+01:00`; nil for anything else. What is finer
  /// than a microsecond is cut off, and a leap second is the one after it.
  public init?(rfc3339 text: some Collection<UInt8>) {
    let bytes = Array(text)
    func number(_ start: Int, _ count: Int) -> Int64? {
      guard bytes.count >= start + count else { return nil }
      var value: Int64 = 0
      for byte in bytes[start..<start + count] {
        guard 0x30...0x39 ~= byte else { return nil }
        value = value * 10 + Int64(byte - 0x30)
      }
      return value
    }
    func holds(_ index: Int, _ characters: StaticString) -> Bool {
      index < bytes.count && characters.description.utf8.contains(bytes[index])
    }
    guard let year = number(0, 4), holds(4, "-"), let month = number(5, 2), holds(7, "-"), let day = number(8, 2),
      holds(10, "Tt "), let hour = number(11, 2), holds(13, ":"), let minute = number(14, 2), holds(16, ":"),
      let second = number(17, 2), hour < 24, minute < 60, second < 61, 1...12 ~= month, day >= 1
    else { return nil }
    let days = Timestamp.days(year, month, day)
    // A day that the month does not have would be one of the next.
    guard Timestamp.civil(fromDays: days) == (year, month, day) else { return nil }
    var index = 19
    var fraction: Int64 = 0
    if holds(index, ".") {
      let digits = bytes[(index + 1)...].prefix { 0x30...0x39 ~= $0 }
      guard 1...18 ~= digits.count else { return nil }
      for place in 0..<6 {
        fraction = fraction * 10 + (place < digits.count ? Int64(digits[index + 1 + place] - 0x30) : 0)
      }
      index += 1 + digits.count
    }
    var offset: Int64 = 0
    if holds(index, "Zz") {
      index += 1
    } else if holds(index, "+-"), let hours = number(index + 1, 2), holds(index + 3, ":"),
      let minutes = number(index + 4, 2), hours < 24, minutes < 60
    {
      offset = (hours * 60 + minutes) * (bytes[index] == UInt8(ascii: "-") ? -60 : 60)
      index += 6
    } else {
      return nil
    }
    guard index == bytes.count else { return nil }
    microseconds = (days * 86_400 + hour * 3600 + minute * 60 + second - offset) * 1_000_000 + fraction
  }

  /// The count of days from 1970-01-01 to a day, by the same source as `civil(fromDays:)`.
  private static func days(_ year: Int64, _ month: Int64, _ day: Int64) -> Int64 {
    let shifted = month <= 2 ? year - 1 : year
    let era = (shifted >= 0 ? shifted : shifted - 399) / 400
    let yearOfEra = shifted - era * 400
    let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
    return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
  }

  /// Year, month and day of a count of days since 1970-01-01, Gregorian, after Hinnant's "chrono-Compatible Low-Level
  /// Date Algorithms".
  public static func civil(fromDays days: Int64) -> (year: Int64, month: Int64, day: Int64) {
    let shifted = days + 719_468
    let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
    let dayOfEra = shifted - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let monthFromMarch = (5 * dayOfYear + 2) / 153
    let day = dayOfYear - (153 * monthFromMarch + 2) / 5 + 1
    let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
    return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day)
  }
}
