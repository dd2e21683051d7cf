import Basics
import Glibc
import Reactor
import Telemetry

/// Prints what children say, each line behind the name of who said it, in a colour of its own on a terminal; as JSON a
/// line of JSON gets the name as one more field, and any other line becomes one.
final class LogPrinter {
  private let isJSON: Bool
  private let hasColours: Bool
  private let nameWidth: Int
  private let logger: Logger
  private static let palette = [36, 33, 32, 35, 34, 96, 93, 92, 95, 94]
  private var colours: [String: Int] = [:]
  private var lastLines: [String: String] = [:]
  private let isVerbose: Bool
  /// Bounds what programs of others say; ours bound it themselves.
  private var budgets: [String: LogBudget] = [:]
  /// Chatter that is told only if something goes wrong with whoever has said it.
  private var held: [String: [String]] = [:]

  /// A printer that holds chatter back unless `isVerbose`.
  init(isJSON: Bool, isVerbose: Bool, nameWidth: Int) {
    self.isVerbose = isVerbose
    self.isJSON = isJSON
    self.nameWidth = nameWidth
    hasColours = !isJSON && isatty(STDOUT_FILENO) == 1 && getenv("NO_COLOR") == nil
    logger = Logger(sink: LogSink(fd: STDOUT_FILENO), subsystem: "up", format: .json)
  }

  /// Prints all lines of `stream` until it ends.
  func printLines(of stream: Stream, from name: String, on reactor: isolated Reactor) async {
    while true {
      let outcome = await stream.read(on: reactor)
      let (lines, consumed) = stream.input.withReadable { bytes -> ([String], Int) in
        var lines: [String] = []
        var start = 0
        for index in 0..<bytes.count where bytes[index] == 0x0A {
          lines.append(String(decoding: bytes[start..<index], as: UTF8.self))
          start = index + 1
        }
        let isTooLong = bytes.count - start > Limits.logLineBytesMax
        if start < bytes.count, isTooLong || outcome != .bytes {
          lines.append(String(decoding: bytes[start...], as: UTF8.self))
          start = bytes.count
        }
        return (lines, start)
      }
      stream.input.consume(consumed)
      for line in lines { self.line(line, from: name) }
      guard outcome == .bytes else { return }
    }
  }

  /// The last line that `name` has said, nil if it has said nothing.
  func lastLine(of name: String) -> String? { lastLines[name] }

  /// Prints one line of a child, or holds it back.
  func line(_ text: String, from name: String) {
    if !text.isEmpty { lastLines[name] = text }
    guard isVerbose || !Chatter.contains(text, of: name) else { return hold(text, of: name) }
    guard let budget = Chatter.budget(of: name) else { return print(text, from: name) }
    guard let suppressed = budgets[name, default: budget].admit(at: .current()) else { return }
    if suppressed > 0 { tellSuppressed(suppressed, of: name) }
    print(text, from: name)
  }

  /// Tells how many lines were suppressed that nobody has been told of yet.
  func settle() {
    for name in budgets.keys.sorted() {
      let suppressed = budgets[name]!.takeSuppressed()
      if suppressed > 0 { tellSuppressed(suppressed, of: name) }
    }
  }

  private func tellSuppressed(_ lines: Int, of name: String) {
    notice("\(lines) lines of \(name) were suppressed")
  }

  private func hold(_ text: String, of name: String) {
    held[name, default: []].append(text)
    if held[name]!.count > Limits.heldLinesMax { held[name]!.removeFirst() }
  }

  /// Something has gone wrong with `name`: prints what was held back of its lines.
  func tellAll(of name: String) {
    for text in held.removeValue(forKey: name) ?? [] { print(text, from: name) }
  }

  /// All is well with `name`: what was held back is of no use any more.
  func forget(_ name: String) { held[name] = nil }

  private func print(_ text: String, from name: String) {
    guard isJSON else {
      let padded = name + String(repeating: " ", count: max(nameWidth - name.count, 0))
      let colour = colours[name] ?? LogPrinter.palette[colours.count % LogPrinter.palette.count]
      colours[name] = colour
      return put(hasColours ? "\u{1B}[\(colour)m\(padded) |\u{1B}[0m \(text)\n" : "\(padded) | \(text)\n")
    }
    if text.hasPrefix("{\"") {
      put("{\"process\":\"\(name)\"," + text.dropFirst() + "\n")
    } else if !text.isEmpty {
      log(logger.named(name), "output", [("line", text)])
    }
  }

  /// Says something of the launcher's own.
  func notice(_ text: String) {
    if isJSON { log(logger, "notice", [("text", text)]) } else { print(text, from: "up") }
  }

  /// Prints text for people as it is; nothing where logs are JSON.
  func show(_ text: String) {
    if !isJSON { put(text) }
  }

  /// The logger writes on a thread of its own, and `put` at once: a line of the one waits for those of the other.
  private func log(_ logger: Logger, _ message: StaticString, _ fields: [(StaticString, String)]) {
    logger.info(message, fields)
    logger.flush()
  }

  /// Writes at once and waits for the terminal: whoever stops it with Ctrl-S stops the launcher until Ctrl-Q, but not
  /// the roles, whose own log queues drop lines when full.
  private func put(_ text: String) {
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty {
      let written = bytes.withUnsafeBytes { Glibc.write(STDOUT_FILENO, $0.baseAddress, $0.count) }
      guard written > 0 || errno == EINTR || errno == EAGAIN else { return }
      bytes = bytes.dropFirst(max(written, 0))
    }
  }
}
