import Foundation
import Basics
@testable import HTTP
import HTTPSyntax
import Reactor
import TestSupport
import Testing

@Suite("Server", .timeLimit(.minutes(5))) struct ServerTests {
  /// What a server with the fixture's routes sends back to `text`.
  private func exchange(
    _ text: String, halfClose: Bool = false, times: HTTPServerTimes = HTTPServerTimes()
  ) async throws -> String {
    try await onReactor { reactor in
      let started = try! Fixture.start(times: times, on: reactor)
      let answer = await RawClient.exchange(text, started.address, halfClose: halfClose, on: reactor)
      await started.server.drain(until: reactor.now + .seconds(1 as UInt64), on: reactor)
      return answer
    }
  }

  private func occurrences(_ part: String, in text: String) -> Int { text.components(separatedBy: part).count - 1 }

  @Test("a body that is coded is not taken for what it is not: 415, and which coding would do") func codedBody()
    async throws
  {
    let answers = try await onReactor { reactor -> [String] in
      let started = try Fixture.start(on: reactor)
      var answers: [String] = []
      for coding in ["gzip", "identity", "br, gzip"] {
        answers.append(
          await RawClient.exchange(
            "POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Encoding: \(coding)\r\n"
              + "Content-Length: 2\r\n\r\nhi", started.address, on: reactor))
      }
      await started.server.drain(until: reactor.now, on: reactor)
      return answers
    }
    for index in [0, 2] {
      #expect(answers[index].hasPrefix("HTTP/1.1 415 ") && answers[index].contains("\r\nAccept-Encoding: identity\r\n"))
    }
    #expect(answers[1].hasPrefix("HTTP/1.1 200 ") && answers[1].hasSuffix("\r\n\r\nhi"))
  }

  @Test("pipelined requests are answered in order, and the last one's close is kept")
  func pipelining() async throws {
    let answer = try await exchange(
      "GET /task/1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\ntwo"
        + "GET /task/3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /task/4 HTTP/1.1\r\nHost: a\r\n\r\n")
    let bodies = answer.components(separatedBy: "\r\n\r\n").dropFirst().map { $0.prefix { $0 != "H" } }
    #expect(bodies == ["task 1", "two", "task 3"])
    #expect(occurrences("Connection: close", in: answer) == 1)
  }

  @Test("a thousand pipelined requests get a thousand answers")
  func manyPipelined() async throws {
    let one = "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"
    let last = "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    let answer = try await exchange(String(repeating: one, count: 999) + last)
    #expect(occurrences("\r\n\r\nhello", in: answer) == 1000)
  }

  @Test("HEAD gives the head of GET and no body")
  func head() async throws {
    let answer = try await exchange("HEAD /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    #expect(answer.hasPrefix("HTTP/1.1 200 OK\r\n"))
    #expect(answer.contains("Content-Length: 5\r\n"))
    #expect(answer.hasSuffix("\r\n\r\n"))
  }

  @Test(
    "a router says what is wrong with a path or a method",
    arguments: [
      ("GET /nothing", "404", ""), ("GET /task/x", "404", ""), ("GET /task/", "404", ""), ("GET /data/%zz", "400", ""),
      ("GET /data/a?q=%f", "400", ""), ("DELETE /hello", "405", "Allow: GET, HEAD, OPTIONS"),
      ("OPTIONS /echo", "204", "Allow: POST, OPTIONS"), ("OPTIONS *", "204", "Allow:"),
    ])
  func routing(_ line: String, _ status: String, _ field: String) async throws {
    let answer = try await exchange("\(line) HTTP/1.1\r\nHost: a\r\nX-Request-Id: me-1\r\nConnection: close\r\n\r\n")
    #expect(answer.hasPrefix("HTTP/1.1 \(status) "))
    #expect(field.isEmpty || answer.contains(field))
    #expect(answer.contains("X-Request-Id: me-1\r\n"))
    if status != "204" {
      #expect(answer.contains("Content-Type: application/problem+json\r\n"))
      #expect(answer.contains(#""request_id":"me-1""#))
    }
  }

  @Test("parameters and query values come decoded")
  func decoding() async throws {
    let answer = try await exchange("GET /data/a%2Fb?x=1&q=c+d%21 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    #expect(answer.hasSuffix("\r\n\r\na/b|c d!"))
  }

  @Test("an unacceptable request id is replaced")
  func requestID() async throws {
    let answer = try await exchange("GET /hello HTTP/1.1\r\nHost: a\r\nX-Request-Id: a b\r\nConnection: close\r\n\r\n")
    #expect(!answer.contains("a b"))
    #expect(answer.contains("X-Request-Id: "))
  }

  @Test("a chunked body arrives decoded")
  func chunked() async throws {
    let answer = try await exchange(
      "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        + "3\r\nabc\r\n2;x\r\nde\r\n0\r\nT: x\r\n\r\n")
    #expect(answer.hasSuffix("\r\n\r\nabcde"))
  }

  @Test("a body past the route's limit is refused before it is read, whatever its framing")
  func tooLarge() async throws {
    let large = String(repeating: "x", count: 200_000)
    let byLength = try await exchange("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n\(large)")
    #expect(byLength.hasPrefix("HTTP/1.1 413 "))
    #expect(byLength.contains("Connection: close\r\n"))
    let inChunks = try await exchange(
      "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n30d40\r\n\(large)\r\n0\r\n\r\n")
    #expect(inChunks.hasPrefix("HTTP/1.1 413 "))
  }

  @Test("a client that waits for 100 gets it only if its body is wanted")
  func expectContinue() async throws {
    let log = try await onReactor { reactor -> [String] in
      let started = try! Fixture.start(on: reactor)
      let client = try! await RawClient(started.address, on: reactor)
      let head = "HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: "
      client.send("POST /echo \(head)4\r\n\r\n", on: reactor)
      let invitation = await client.read(until: "\r\n\r\n", on: reactor)
      client.send("body", on: reactor)
      let answer = await client.read(on: reactor)
      client.stream.close(on: reactor)
      let refusal = await RawClient.exchange("POST /echo \(head)4000\r\n\r\n", started.address, on: reactor)
      let unknown = await RawClient.exchange("POST /nothing \(head)4\r\n\r\n", started.address, on: reactor)
      await started.server.drain(until: reactor.now + .seconds(1 as UInt64), on: reactor)
      return [invitation, answer, refusal, unknown]
    }
    #expect(log[0] == "HTTP/1.1 100 Continue\r\n\r\n")
    #expect(log[1].hasSuffix("\r\n\r\nbody"))
    #expect(log[2].hasPrefix("HTTP/1.1 413 "))
    #expect(log[3].hasPrefix("HTTP/1.1 404 "))
  }

  @Test(
    "an ambiguous request is refused and the connection closed",
    arguments: CorpusCase.load("requests").filter { $0.expected.count == 1 && $0.expected[0].hasPrefix("error ") })
  func malformed(_ example: CorpusCase) async throws {
    let status = example.expected[0].split(separator: " ").last!
    let answer = try await exchange(String(decoding: example.input, as: UTF8.self))
    #expect(answer.hasPrefix("HTTP/1.1 \(status) "))
    #expect(answer.contains("Connection: close\r\n"))
    #expect(occurrences("HTTP/1.1 ", in: answer.components(separatedBy: "\r\n\r\n")[0]) == 1)
  }

  @Test("a client that has closed its sending side still gets its answers")
  func halfClosed() async throws {
    let one = "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"
    let answer = try await exchange(one + one, halfClose: true)
    #expect(occurrences("\r\n\r\nhello", in: answer) == 2)
  }

  @Test("a streamed body comes in chunks, and plainly to an old client")
  func streaming() async throws {
    let chunked = try await exchange("GET /stream HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    #expect(chunked.hasSuffix("\r\n\r\n2\r\n1;\r\n2\r\n2;\r\n2\r\n3;\r\n0\r\n\r\n"))
    let plain = try await exchange("GET /stream HTTP/1.0\r\n\r\n")
    #expect(plain.hasSuffix("\r\n\r\n1;2;3;"))
  }

  @Test("a head that drips in is cut off at its deadline, which no byte extends")
  func slowHead() async throws {
    var times = HTTPServerTimes()
    times.head = .milliseconds(80)
    let used = times
    let answer = try await onReactor { reactor -> String in
      let started = try! Fixture.start(times: used, on: reactor)
      let client = try! await RawClient(started.address, on: reactor)
      let writer = Task.immediate(executorPreference: reactor.queue) {
        client.send("GET / HTTP/1.1\r\n", on: reactor)
        while !client.stream.isClosed {
          client.send("a", on: reactor)
          await reactor.sleep(for: .milliseconds(10))
        }
      }
      let answer = await client.read(until: "}", on: reactor)
      client.stream.close(on: reactor)
      await writer.value
      await started.server.drain(until: reactor.now + .seconds(1 as UInt64), on: reactor)
      return answer
    }
    #expect(answer.hasPrefix("HTTP/1.1 408 "))
  }

  @Test("a silent connection is closed without a word")
  func idle() async throws {
    var times = HTTPServerTimes()
    times.idle = .milliseconds(20)
    #expect(try await exchange("", times: times) == "")
  }

  @Test("draining lets a request in progress end and closes idle connections")
  func drain() async throws {
    let log = try await onReactor { reactor -> [String] in
      let started = try! Fixture.start(on: reactor)
      let idle = try! await RawClient(started.address, on: reactor)
      let busy = try! await RawClient(started.address, on: reactor)
      busy.send("GET /gate HTTP/1.1\r\nHost: a\r\n\r\n", on: reactor)
      while started.fixture.gate == nil { await reactor.sleep(for: .milliseconds(1)) }
      let drained = Task.immediate(executorPreference: reactor.queue) {
        await started.server.drain(until: reactor.now + .seconds(10 as UInt64), on: reactor)
      }
      let nothing = await idle.read(on: reactor)
      started.fixture.gate?.resume()
      let answer = await busy.read(on: reactor)
      await drained.value
      return [nothing, answer, "\(started.server.connectionCount)"]
    }
    #expect(log[0] == "")
    #expect(log[1].contains("Connection: close\r\n"))
    #expect(log[1].hasSuffix("\r\n\r\nopen"))
    #expect(log[2] == "0")
  }

  @Test("a client keeps its connection, and survives that the server closed it")
  func client() async throws {
    var times = HTTPServerTimes()
    times.idle = .milliseconds(30)
    let used = times
    let log = try await onReactor { reactor -> [String] in
      let started = try! Fixture.start(times: used, on: reactor)
      let client = HTTPClient()
      var log: [String] = []
      for pause in [0, 0, 60] as [UInt64] {
        await reactor.sleep(for: .milliseconds(pause))
        do throws(HTTPClientError) {
          let response = try await client.send(
            HTTPClientRequest(.get, "/stream"), to: started.address, until: reactor.now + .seconds(5 as UInt64),
            on: reactor)
          log.append("\(response.status) \(String(decoding: response.body, as: UTF8.self))")
        } catch {
          log.append("\(error)")
        }
        log.append("\(started.server.connectionCount)")
      }
      client.closeIdle(on: reactor)
      await started.server.drain(until: reactor.now + .seconds(1 as UInt64), on: reactor)
      return log
    }
    #expect(log == ["200 1;2;3;", "1", "200 1;2;3;", "1", "200 1;2;3;", "1"])
  }
}
