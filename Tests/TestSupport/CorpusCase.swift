import Foundation
import HTTPSyntax

/// One case of a corpus file: a stream of bytes beside the log that reading it must give.
///
///     ## what the case promises
///     the input, where \r \n \t \xHH and {x*9000} mean what they look like and line ends mean nothing
///     --
///     the log, a line an event
public struct CorpusCase: CustomStringConvertible, Sendable {
  /// What the case promises.
  public let title: String
  /// The bytes that are read.
  public let input: [UInt8]
  /// The lines of the log.
  public let expected: [String]

  /// The title.
  public var description: String { title }

  /// The cases of `Corpus/<name>.txt`.
  public static func load(_ name: String) -> [CorpusCase] {
    let url = Bundle.module.url(forResource: name, withExtension: "txt", subdirectory: "Corpus")
    let text = url.flatMap { try? String(contentsOf: $0, encoding: .utf8) }
    return ("\n" + (text ?? "")).components(separatedBy: "\n## ").dropFirst().map(parse)
  }

  private static func parse(_ block: String) -> CorpusCase {
    var lines = block.components(separatedBy: "\n")
    let title = lines.removeFirst()
    let separator = lines.firstIndex(of: "--") ?? lines.endIndex
    let expected = lines[separator...].dropFirst().filter { !$0.isEmpty }
    return CorpusCase(title: title, input: unescape(lines[..<separator].joined()), expected: Array(expected))
  }

  private static func unescape(_ text: String) -> [UInt8] {
    var bytes: [UInt8] = []
    var rest = Substring(text)
    while let character = rest.popFirst() {
      if character == "\\", let kind = rest.popFirst() {
        switch kind {
        case "r": bytes.append(0x0D)
        case "n": bytes.append(0x0A)
        case "t": bytes.append(0x09)
        case "x":
          bytes.append(UInt8(rest.prefix(2), radix: 16)!)
          rest = rest.dropFirst(2)
        default: bytes += Array(String(kind).utf8)
        }
      } else if character == "{", let end = rest.firstIndex(of: "}"), let star = rest[..<end].lastIndex(of: "*"),
        let count = Int(rest[rest.index(after: star)..<end])
      {
        let unit = unescape(String(rest[..<star]))
        for _ in 0..<count { bytes += unit }
        rest = rest[rest.index(after: end)...]
      } else {
        bytes += Array(String(character).utf8)
      }
    }
    return bytes
  }
}
