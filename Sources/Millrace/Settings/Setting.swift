/// One thing that can be configured. Flags, environment variables, `config`, `--help` and the table in the article
/// `Settings` all come from the table of these (`Setting.all`).
struct Setting: Sendable {
  /// What values are possible.
  enum Kind: Sendable {
    case text(TextForm)
    case flag
    case integer(ClosedRange<Int>)
    case decimal(ClosedRange<Double>)
    case choice([String])
    /// Several texts, parted by commas, or the flag given several times.
    case list
  }

  /// The flag without its dashes: `rate-limit`.
  let name: String
  /// The environment variable: `RATE_LIMIT_REQUESTS`.
  let variable: String
  let kind: Kind
  /// The value if nobody says otherwise, in text; nil if there is none.
  let defaultValue: String?
  /// The same for `up`, where it is another one.
  let upDefault: String?
  /// The commands that use it.
  let commands: Set<Command>
  /// Whether its value is never shown, and can also come from a file named by the variable with `_FILE` behind.
  let isSecret: Bool
  /// What it is for, in one line, units included.
  let help: String

  init(
    _ name: String, _ variable: String, _ kind: Kind, _ defaultValue: String?, _ commands: Set<Command>,
    isSecret: Bool = false, upDefault: String? = nil, _ help: String
  ) {
    self.name = name
    self.variable = variable
    self.kind = kind
    self.defaultValue = defaultValue
    self.commands = commands
    self.isSecret = isSecret
    self.upDefault = upDefault
    self.help = help
  }

  /// The variable that names a file with the value.
  var fileVariable: String? { isSecret ? variable + "_FILE" : nil }

  /// The value that `command` uses if nobody says otherwise.
  func defaultValue(for command: Command) -> String? { command == .up ? upDefault ?? defaultValue : defaultValue }

  /// What a value looks like, for help and errors.
  var valueHint: String {
    switch kind {
    case .text: "TEXT"
    case .flag: "on|off"
    case .integer(let range):
      range.upperBound == .max ? "\(range.lowerBound)…" : "\(range.lowerBound)…\(range.upperBound)"
    case .decimal(let range): "\(range.lowerBound)…\(range.upperBound)"
    case .choice(let names): names.joined(separator: "|")
    case .list: "TEXT,…"
    }
  }

  /// What is wrong with `value`, nil if nothing.
  func problem(with value: String) -> String? {
    let isValid =
      switch kind {
      case .text(let form): form.isMet(by: value)
      case .list: true
      case .flag: Setting.truth(of: value) != nil
      case .integer(let range): Int(value).map(range.contains) ?? false
      case .decimal(let range): Double(value).map(range.contains) ?? false
      case .choice(let names): names.contains(Setting.plain(value))
      }
    guard !isValid else { return nil }
    let shown = isSecret ? "the value" : "'\(value)'"
    if case .text(.any) = kind { return "the value is empty" }
    if case .choice(let names) = kind, !isSecret, let near = Spelling.nearest(to: Setting.plain(value), in: names) {
      return "\(shown) is not \(Setting.description(of: kind)); did you mean '\(near)'?"
    }
    return "\(shown) is not \(Setting.description(of: kind))"
  }

  private static func description(of kind: Kind) -> String {
    switch kind {
    case .text(let form): form.description
    case .list: "text"
    case .flag: "on or off"
    case .integer(let range) where range.upperBound == .max: "a whole number of at least \(range.lowerBound)"
    case .integer(let range): "a whole number from \(range.lowerBound) to \(range.upperBound)"
    case .decimal(let range): "a number from \(range.lowerBound) to \(range.upperBound)"
    case .choice(let names): "one of " + names.joined(separator: ", ")
    }
  }

  /// The truth that a flag's value means, nil if it means neither.
  static func truth(of value: String) -> Bool? {
    switch value.lowercased() {
    case "on", "true", "yes", "1": true
    case "off", "false", "no", "0": false
    default: nil
    }
  }

  /// A choice in lower case, with `_` for `-`.
  static func plain(_ value: String) -> String {
    String(value.lowercased().map { $0 == "-" ? "_" : $0 })
  }
}

/// Finds what somebody may have meant.
enum Spelling {
  /// The candidate that is the fewest edits away, nil if none is near.
  static func nearest(to word: String, in candidates: [String]) -> String? {
    let scored = candidates.map { (candidate: $0, distance: distance(Array(word.utf8), Array($0.utf8))) }
    guard let best = scored.min(by: { $0.distance < $1.distance }) else { return nil }
    let allowed = word.utf8.count < 3 ? 0 : max(1, word.utf8.count / 3)
    return best.distance <= allowed ? best.candidate : nil
  }

  /// How many characters must be inserted, deleted, replaced, or exchanged with their neighbour (optimal string
  /// alignment distance).
  static func distance(_ a: [UInt8], _ b: [UInt8]) -> Int {
    var beforeLast = [Int](repeating: 0, count: b.count + 1)
    var last = Array(0...b.count)
    for i in 1..<(a.count + 1) {
      var row = [i] + [Int](repeating: 0, count: b.count)
      for j in 1..<(b.count + 1) {
        row[j] = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1))
        if i > 1, j > 1, a[i - 1] == b[j - 2], a[i - 2] == b[j - 1] { row[j] = min(row[j], beforeLast[j - 2] + 1) }
      }
      beforeLast = last
      last = row
    }
    return last[b.count]
  }
}
