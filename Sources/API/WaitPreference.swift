import Basics
import HTTP
import HTTPSyntax

/// How long a client is willing to wait for a task to end: `?wait=5`, or `Prefer: wait=5` (RFC 7240 §4.3), in seconds,
/// cut at `Limits.waitSecondsMax`.
struct WaitPreference {
  let seconds: Int
  private let isField: Bool

  /// A wish that nobody has spelled out.
  init(seconds: Int) {
    self.seconds = seconds
    isField = false
  }

  /// Nil if the client does not want to wait.
  /// - Throws: `Problem` 400 for a query parameter that is no whole number of seconds. A preference that is not
  ///   understood is ignored, as RFC 7240 §2 asks.
  init?(_ request: HTTPRequest) throws(Problem) {
    if let text = try request.query("wait") {
      guard let seconds = Int(text), seconds >= 0 else {
        throw Problem(
          400, "The query parameter wait takes a whole number of seconds.",
          errors: [Problem.FieldError("wait", "is not a whole number of seconds")])
      }
      self.seconds = min(seconds, Limits.waitSecondsMax)
      isField = false
    } else if let text = request.text(of: .prefer), let seconds = WaitPreference.seconds(in: text) {
      self.seconds = min(seconds, Limits.waitSecondsMax)
      isField = true
    } else {
      return nil
    }
    if seconds == 0 { return nil }
  }

  /// Says in the answer that the preference was honoured.
  func applied(to response: HTTPResponse) -> HTTPResponse {
    guard isField else { return response }
    var response = response
    response.set("Preference-Applied", "wait=\(seconds)")
    return response
  }

  private static func seconds(in prefer: String) -> Int? {
    for preference in prefer.split(separator: ",") {
      let parts = preference.split(separator: ";", omittingEmptySubsequences: false)[0].split(separator: "=")
      guard parts.count == 2, trimmed(parts[0]).lowercased() == "wait" else { continue }
      if let seconds = Int(trimmed(parts[1])), seconds >= 0 { return seconds }
    }
    return nil
  }

  private static func trimmed(_ text: Substring) -> Substring {
    var text = text.drop { $0 == " " || $0 == "\t" || $0 == "\"" }
    while let last = text.last, last == " " || last == "\t" || last == "\"" { text.removeLast() }
    return text
  }
}
