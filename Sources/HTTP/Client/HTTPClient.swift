import Glibc
public import Basics
import HTTPSyntax
public import Reactor

/// A small client for health checks, compute services, tools and tests: one request, one response, connections kept for
/// the next one.
/// The balancer's byte path has its own.
public final class HTTPClient {
  private let bodyBytesMax: Int
  private let idleMax: Int
  private var idle: [String: [Stream]] = [:]

  /// A client that takes bodies up to `bodyBytesMax` bytes and keeps up to `idleMax` idle connections for one address.
  public init(bodyBytesMax: Int = 16 << 20, idleMax: Int = 8) {
    self.bodyBytesMax = bodyBytesMax
    self.idleMax = idleMax
  }

  /// Sends `request` to `address` and waits for the response. If a kept connection turns out to have been closed by the
  /// server, an idempotent request is sent once more on a new one.
  /// - Parameter call: with which somebody may give it up before that.
  public func send(
    _ request: HTTPClientRequest, to address: SocketAddress, until deadline: MonotonicTime,
    call: HTTPClientCall? = nil, on reactor: isolated Reactor
  ) async throws(HTTPClientError) -> HTTPClientResponse {
    let key = address.description
    if request.method.isIdempotent, let kept = takeIdle(key, on: reactor) {
      do throws(HTTPClientError) {
        return try await exchange(request, kept, key, deadline, call, on: reactor)
      } catch  where error == .closed {
        // Fall through to a new connection.
      }
    }
    let fd: CInt
    do {
      fd = try await Connector.connect(to: address, until: deadline, on: reactor)
    } catch {
      throw .unreachable(error)
    }
    let stream: Stream
    do throws(SystemError) {
      stream = try Stream(adopting: fd, on: reactor)
    } catch {
      close(fd)
      throw .unreachable(error)
    }
    return try await exchange(request, stream, key, deadline, call, on: reactor)
  }

  /// A kept connection that has been silent since; what a server says unasked answers no request.
  private func takeIdle(_ key: String, on reactor: isolated Reactor) -> Stream? {
    while let kept = idle[key]?.popLast() {
      if kept.isQuiet(on: reactor) { return kept }
      kept.close(on: reactor)
    }
    return nil
  }

  /// Closes the kept connections but for those to `addresses`: for whoever asks servers that come and go.
  public func closeIdle(but addresses: [SocketAddress], on reactor: isolated Reactor) {
    let kept = Set(addresses.map(\.description))
    for (address, streams) in idle where !kept.contains(address) {
      for stream in streams { stream.close(on: reactor) }
      idle[address] = nil
    }
  }

  /// Closes the kept connections.
  public func closeIdle(on reactor: isolated Reactor) {
    for streams in idle.values {
      for stream in streams { stream.close(on: reactor) }
    }
    idle.removeAll()
  }

  /// One request and its response on `stream`, which afterwards is kept or closed.
  private func exchange(
    _ request: HTTPClientRequest, _ stream: Stream, _ key: String, _ deadline: MonotonicTime,
    _ call: HTTPClientCall?, on reactor: isolated Reactor
  ) async throws(HTTPClientError) -> HTTPClientResponse {
    call?.stream = stream
    defer { call?.stream = nil }
    if call?.isGivenUp == true {
      stream.close(on: reactor)
      throw .deadline
    }
    stream.write(request.serialised(), on: reactor)
    do throws(HTTPClientError) {
      let reader = ResponseReader(stream: stream, bodyBytesMax: bodyBytesMax)
      let response = try await reader.read(answering: request.method, until: deadline, on: reactor)
      if reader.keepsAlive, stream.input.isEmpty, idle[key, default: []].count < idleMax {
        stream.releaseMemory()
        idle[key, default: []].append(stream)
      } else {
        stream.close(on: reactor)
      }
      return response
    } catch {
      stream.close(on: reactor)
      throw error
    }
  }
}
