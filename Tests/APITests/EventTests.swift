import HTTP
import HTTPSyntax
import Reactor
import TestSupport
import Testing

@testable import API

// One after the other with all others, which wait for answers that a busy machine would delay.
extension APITests {
  @Suite("Events", .timeLimit(.minutes(5))) struct EventTests {
    private static let body = #"{"string":"x"}"#

    @Test("a cancelled task is over for whoever waits for it or watches it, and cannot be cancelled again")
    func cancelling() async throws {
      try await onReactor { reactor in
        let api = try await APIHarness.start("cancelling", redis: APITests.redis, on: reactor)
        _ = try await api.send(.post, "/hash/md5", Self.body, on: reactor)
        let waiting = Task.immediate(executorPreference: reactor.queue) {
          try await api.send(.get, "/task/1?wait=20", on: reactor).text
        }
        let watching = Task.immediate(executorPreference: reactor.queue) {
          try await api.send(.get, "/task/1/events", on: reactor)
        }
        #expect(await api.clientsWaiting(on: reactor) { $0 == 2 })
        let answer = try await api.send(.post, "/task/1/cancel", on: reactor)
        #expect(answer.status == 200 && answer.text.contains(#""status":"cancelled""#))
        #expect(try await waiting.value == answer.text)
        let events = try await watching.value
        #expect(events.field("content-type") == "text/event-stream" && events.field("cache-control") == "no-store")
        let lines = events.text.split(separator: "\n", omittingEmptySubsequences: false).filter { $0 != ":" }
        #expect(lines[0] == "id: 1-0-queued-0" && lines[1] == "event: status" && lines[2].hasPrefix(#"data: {"id":1,"#))
        #expect(lines[4] == "id: 1-0-cancelled-0" && lines[6] == "data: \(answer.text)")
        // Who comes back with what it has seen hears of nothing else.
        let seen = [(name: "Last-Event-ID", value: "1-0-cancelled-0")]
        #expect(try await api.send(.get, "/task/1/events", fields: seen, on: reactor).text == "")
        #expect(try await api.send(.post, "/task/1/cancel", on: reactor).status == 409)
        for path in ["/task/99/cancel", "/task/x/cancel"] {
          #expect(try await api.send(.post, path, on: reactor).status == 404)
        }
        #expect(try await api.send(.get, "/task/99/events", on: reactor).status == 404)
        await api.stop(on: reactor)
      }
    }
  }
}
