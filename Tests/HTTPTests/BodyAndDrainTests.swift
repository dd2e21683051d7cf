import Basics
import Glibc
import HTTP
import HTTPSyntax
import Reactor
import TestSupport
import Testing

@Suite("Bodies and drain", .timeLimit(.minutes(5))) struct BodyAndDrainTests {
  @Test("a streaming route gets a body piece by piece, before it is whole") func pieces() async throws {
    let (seen, answer) = try await onReactor { reactor -> (Int, String) in
      let started = try! Fixture.start(on: reactor)
      let client = try! await RawClient(started.address, on: reactor)
      client.send("POST /pieces HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 6\r\n\r\nabc", on: reactor)
      while started.fixture.pieces == 0 { await reactor.sleep(for: .milliseconds(1)) }
      let seen = started.fixture.pieces
      client.send("def", on: reactor)
      let answer = await client.read(on: reactor)
      client.stream.close(on: reactor)
      await started.server.drain(until: reactor.now, on: reactor)
      return (seen, answer)
    }
    #expect(seen == 1)
    #expect(answer.hasSuffix("\r\n\r\n6 in 2"))
  }

  @Test("a streamed body keeps to its bound, and one that nobody reads ends the connection") func bounds() async throws
  {
    let answers = try await onReactor { reactor -> [String] in
      let started = try! Fixture.start(on: reactor)
      var answers: [String] = []
      for request in [
        "POST /pieces HTTP/1.1\r\nHost: a\r\nContent-Length: 100001\r\n\r\n",
        "POST /pieces HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nx\r\n",
        "POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET /hello HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /pieces HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
          + "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
      ] {
        answers.append(await RawClient.exchange(request, started.address, halfClose: true, on: reactor))
      }
      await started.server.drain(until: reactor.now, on: reactor)
      return answers
    }
    #expect(answers[0].hasPrefix("HTTP/1.1 413 "))
    #expect(answers[1].hasPrefix("HTTP/1.1 400 "))
    #expect(answers[2].contains("Connection: close") && !answers[2].contains("\r\n\r\nhello"))
    #expect(answers[3].contains("5 in 1") && answers[3].hasSuffix("\r\n\r\nhello"))
  }

  @Test("who sends a lot of a body at once may not be silent for long behind it") func silenceBehindMuch() async throws
  {
    let (answer, took) = try await onReactor { reactor -> (String, TimeSpan) in
      var times = HTTPServerTimes()
      times.body = .milliseconds(120)
      let started = try! Fixture.start(times: times, on: reactor)
      let body = String(repeating: "x", count: 60_000)
      let begin = reactor.now
      let answer = await RawClient.exchange(
        "POST /pieces HTTP/1.1\r\nHost: a\r\nContent-Length: 90000\r\n\r\n" + body, started.address, on: reactor)
      let took = reactor.now.since(begin)
      await started.server.drain(until: reactor.now, on: reactor)
      return (answer, took)
    }
    #expect(answer.hasPrefix("HTTP/1.1 408 ") && took < .seconds(10 as UInt64))
  }

  @Test("an early refusal reaches a client that goes on sending far more than a linger once took")
  func refusalBehindALargeUpload() async throws {
    let answer = try await onReactor { reactor -> String in
      let started = try! Fixture.start(on: reactor)
      let client = try! await RawClient(started.address, on: reactor)
      client.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 16000000\r\n\r\n", on: reactor)
      for _ in 0..<160 {
        client.stream.write([UInt8](repeating: 0x78, count: 100_000), on: reactor)
        await client.stream.waitForRoom(on: reactor)
      }
      await client.stream.drain(on: reactor)
      client.stream.shutdownWriting(on: reactor)
      let answer = await client.read(on: reactor)
      client.stream.close(on: reactor)
      await started.server.drain(until: reactor.now, on: reactor)
      return answer
    }
    #expect(answer.hasPrefix("HTTP/1.1 413 "))
  }

  @Test("a server that stops answers what the kernel had taken: bytes, and connections nobody had accepted yet")
  func drainTakesWhatWasThere() async throws {
    let answers = try await onReactor { reactor -> [String] in
      let started = try! Fixture.start(on: reactor)
      let kept = try! await RawClient(started.address, on: reactor)
      kept.send("GET /hello HTTP/1.1\r\nHost: a\r\n\r\n", on: reactor)
      _ = await kept.read(until: "\r\n\r\nhello", on: reactor)
      // All in one turn: nothing of this has been told to the server when it is ordered to stop.
      let fresh = try! Socket.beginConnect(to: started.address)
      let request = Array("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nnew".utf8)
      var polled = pollfd(fd: fresh, events: Int16(POLLOUT), revents: 0)
      poll(&polled, 1, 1000)
      _ = request.withUnsafeBytes { Glibc.send(fresh, $0.baseAddress, $0.count, CInt(MSG_NOSIGNAL)) }
      kept.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nkept", on: reactor)
      await started.server.drain(until: reactor.now + .seconds(2 as UInt64), on: reactor)
      let stranger = Stream.adopt(fresh, on: reactor)
      let late = RawClient(stranger)
      let answers = [await kept.read(on: reactor), await late.read(on: reactor)]
      kept.stream.close(on: reactor)
      stranger.close(on: reactor)
      return answers
    }
    #expect(answers[0].hasSuffix("\r\n\r\nkept") && answers[0].contains("Connection: close"))
    #expect(answers[1].hasSuffix("\r\n\r\nnew"))
  }

  @Test("a handler hears that its client has ended its side, and what it says then reaches who still reads")
  func clientEnds() async throws {
    let answer = try await onReactor { reactor -> String in
      let started = try Fixture.start(on: reactor)
      let client = try await RawClient(started.address, on: reactor)
      client.send("GET /patience HTTP/1.1\r\nHost: a\r\n\r\n", on: reactor)
      while started.fixture.served == 0 { await reactor.sleep(for: .milliseconds(1)) }
      client.stream.shutdownWriting(on: reactor)
      let answer = await client.read(on: reactor)
      client.stream.close(on: reactor)
      await started.server.drain(until: reactor.now, on: reactor)
      return answer
    }
    #expect(answer.hasSuffix("\r\n\r\nended"))
  }

  @Test("a request that comes in the very turn in which its connection was to be closed for being idle is answered")
  func requestAtTheIdleDeadline() async throws {
    var times = HTTPServerTimes()
    times.idle = .seconds(1 as UInt64)
    let used = times
    let answer = try await onReactor { reactor -> String in
      let started = try Fixture.start(times: used, on: reactor)
      let client = try await RawClient(started.address, on: reactor)
      client.send("GET /hello HTTP/1.1\r\nHost: a\r\n\r\n", on: reactor)
      _ = await client.read(until: "\r\n\r\nhello", on: reactor)
      client.stream.input.removeAll()
      let second = DueAction {
        client.send("GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", on: reactor)
      }
      second.precede(all: .milliseconds(1010), on: reactor)
      let answer = await client.read(on: reactor)
      client.stream.close(on: reactor)
      await started.server.drain(until: reactor.now, on: reactor)
      return answer
    }
    #expect(answer.hasSuffix("\r\n\r\nhello"))
  }
}

extension Stream {
  fileprivate static func adopt(_ fd: CInt, on reactor: isolated Reactor) -> Stream {
    try! Stream(adopting: fd, on: reactor)
  }
}
