import Basics
import Hashing

/// A key as a line of a file: `ID ALGORITHM [public] KEY [until SECONDS]`, the key in 64 hexadecimal digits. A line of
/// nothing but 64 digits is a key for HS256, named by the program: a file that any tool can make.
extension TokenKey {
  /// Nil if `words` are none.
  init?(words: [Substring]) {
    if words.count == 1 {
      guard let key = SecretKey(bytes: Hex.decode(words[0].utf8) ?? []) else { return nil }
      self.init(key, .hs256)
      return
    }
    guard words.count >= 3, let algorithm = TokenAlgorithm(rawValue: String(words[1])),
      1...Limits.keyNameBytesMax ~= words[0].utf8.count, words[0].utf8.allSatisfy(TokenKey.isOfName)
    else { return nil }
    var rest = words[2...]
    let isPublic = rest.first == "public"
    if isPublic { rest.removeFirst() }
    guard let digits = rest.popFirst(), let bytes = Hex.decode(digits.utf8) else { return nil }
    let material: Material
    if isPublic {
      guard algorithm == .ed25519, bytes.count == Ed25519.keyBytes else { return nil }
      material = .publicKey(bytes)
    } else {
      guard let key = SecretKey(bytes: bytes) else { return nil }
      material = .secret(key)
    }
    var until: Double?
    if !rest.isEmpty {
      guard rest.count == 2, rest.first == "until", let second = rest.last.flatMap({ UInt32($0) }) else { return nil }
      until = Double(second)
    }
    self.init(id: String(words[0]), algorithm: algorithm, material: material, until: until)
  }

  /// Visible ASCII characters that stand in a JSON string as they are; not `#`, which begins a comment.
  private static func isOfName(_ byte: UInt8) -> Bool {
    0x21...0x7E ~= byte && !"\"\\#".utf8.contains(byte)
  }

  var line: String {
    let shown =
      switch material {
      case .secret(let key): String(decoding: Hex.encode(key.revealed), as: UTF8.self)
      case .publicKey(let bytes): "public " + String(decoding: Hex.encode(bytes), as: UTF8.self)
      }
    return "\(id) \(algorithm.rawValue) \(shown)" + (until.map { " until \(UInt32(clamping: Int64($0)))" } ?? "")
  }
}
