/// A sliding window counter in one 64-bit word:
///
///     63          40 39           20 19            0
///     | window (24) | previous (20) | current (20) |
///
/// `current` counts the requests of the window with that number, `previous` those of the window before. At a time
/// inside the window the previous count still weighs as much as a window that ends now would overlap it. So never more
/// than the quota pass in a window, and after a burst at its end hardly any at the beginning of the next. Counts stop
/// at their largest value, and the window's number is cut to 24 bits: half a year at windows of one second, after which
/// an address that was silent for exactly that long finds its old count.
struct RateWindow: Equatable {
  static let countMax = UInt64(Limits.rateCountMax)
  private static let numberMask: UInt64 = (1 << 24) - 1

  let word: UInt64

  init(word: UInt64) {
    self.word = word
  }

  init(number: UInt64, previous: UInt64, current: UInt64) {
    word =
      (number & RateWindow.numberMask) << 40 | min(previous, RateWindow.countMax) << 20
      | min(current, RateWindow.countMax)
  }

  var number: UInt64 { word >> 40 }
  var previous: UInt64 { word >> 20 & RateWindow.countMax }
  var current: UInt64 { word & RateWindow.countMax }

  /// How many windows this one lies behind the window `number`; -1 if it is ahead, because another reactor has read a
  /// later time. Only a short way ahead is believed: what looks further ahead is very old.
  func age(at number: UInt64) -> Int {
    let behind = (number &- self.number) & RateWindow.numberMask
    return behind > RateWindow.numberMask - 1024 ? -1 : Int(behind)
  }

  /// The same counts as seen from the window `number`.
  func advanced(to number: UInt64) -> RateWindow {
    switch age(at: number) {
    case -1, 0: self
    case 1: RateWindow(number: number, previous: current, current: 0)
    default: RateWindow(number: number, previous: 0, current: 0)
    }
  }

  func counting() -> RateWindow {
    current == RateWindow.countMax ? self : RateWindow(word: word + 1)
  }

  /// Requests in the window that ends `elapsed` into this one, both in units of `length`; rounded up.
  func weight(elapsed: UInt64, length: UInt64) -> UInt64 {
    current + (previous * (length - min(elapsed, length)) + length - 1) / length
  }

  /// How long from `elapsed` until one more request fits under `quota`, in the unit of `length`.
  func wait(elapsed: UInt64, length: UInt64, quota: UInt64) -> UInt64 {
    /// The earliest time into a window at which `old` requests of the one before leave room for one.
    func opening(old: UInt64, new: UInt64) -> UInt64? {
      guard new < quota else { return nil }
      guard old > 0 else { return 0 }
      let room = quota - 1 - new
      return room >= old ? 0 : length - room * length / old
    }
    if let opens = opening(old: previous, new: current), opens < length { return opens > elapsed ? opens - elapsed : 0 }
    return length - min(elapsed, length) + (opening(old: current, new: 0) ?? 0)
  }
}
