import Basics
import HTTP
import Reactor

/// What backends were asked to do: each token, once for every time that one of them was.
final class Ledger {
  private var times: [String: Int] = [:]
  private let noted = Pause()

  func note(_ token: String) {
    times[token, default: 0] += 1
    noted.end()
  }

  /// Waits until so many tokens were noted.
  /// - Returns: whether that came about within 20 seconds.
  func waits(forDone count: Int, on reactor: isolated Reactor) async -> Bool {
    let deadline = reactor.now + .seconds(20 as UInt64)
    while done < count {
      guard await noted.wait(until: deadline, on: reactor) else { return false }
    }
    return true
  }

  /// How many tokens were noted.
  var done: Int { times.count }
  /// How many of them more than once.
  var repeated: Int { times.values.filter { $0 > 1 }.count }

  /// Has `token` noted by a POST with a body of so many bytes; what came back, if it was not the answer to that.
  static func post(
    _ token: String, bodyBytes: Int, over client: HTTPClient, to address: SocketAddress, on reactor: isolated Reactor
  ) async -> String? {
    let request = HTTPClientRequest(.post, "/note/\(token)", body: [UInt8](repeating: 0x61, count: bodyBytes))
    do throws(HTTPClientError) {
      let answer = try await client.send(request, to: address, until: reactor.now + .seconds(10 as UInt64), on: reactor)
      let text = String(decoding: answer.body, as: UTF8.self)
      return text == "\(token) \(bodyBytes)" && answer.status == 200 ? nil : "\(answer.status) \(text)"
    } catch {
      return "\(error)"
    }
  }
}
