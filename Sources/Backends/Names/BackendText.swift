import Balancing

/// `[NAME=]PLACE[*WEIGHT][?resets=unread]`, taken apart.
struct BackendText {
  /// What stands before the sign, nil if there is none.
  let name: String?
  let place: String
  let weight: Int
  let vouchesForResets: Bool

  private static let vouching = "?resets=unread"

  /// Nil if the weight is none, or what it is called could end a field.
  init?(_ text: String) {
    var rest = Substring(text)
    vouchesForResets = rest.hasSuffix(BackendText.vouching)
    if vouchesForResets { rest = rest.dropLast(BackendText.vouching.count) }
    var weight = 1
    if let star = rest.lastIndex(of: "*") {
      guard let given = Int(rest[rest.index(after: star)...]), Limits.weights.contains(given) else { return nil }
      weight = given
      rest = rest[..<star]
    }
    self.weight = weight
    let equals = rest.firstIndex(of: "=")
    name = equals.map { String(rest[..<$0]) }
    place = equals.map { String(rest[rest.index(after: $0)...]) } ?? String(rest)
    guard BackendText.isName(name ?? place) else { return nil }
  }

  /// Names stand in fields, metrics and logs: visible ASCII without quotes and backslashes, 1 to 255 bytes.
  private static func isName(_ text: String) -> Bool {
    1...255 ~= text.utf8.count && text.utf8.allSatisfy { 0x21...0x7E ~= $0 && $0 != 0x22 && $0 != 0x5C }
  }
}
