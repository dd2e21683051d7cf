import Glibc

/// What is said to a connection for which there is no room.
public enum ConnectionRefusal {
  private static let answer: StaticString =
    "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

  /// Answers 503 without having read anything, and closes `fd`. The kernel takes so little at once or not at all, and
  /// the client may lose it if it was sending: there is no room to wait for it.
  public static func refuse(_ fd: CInt) {
    _ = send(fd, answer.utf8Start, answer.utf8CodeUnitCount, CInt(MSG_NOSIGNAL))
    close(fd)
  }
}
