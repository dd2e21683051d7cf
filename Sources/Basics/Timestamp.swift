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
