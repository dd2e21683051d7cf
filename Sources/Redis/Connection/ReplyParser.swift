import CHiredis

/// Cuts a stream of bytes into answers, with hiredis' reader, which believes whatever length an array claims to have,
/// and looks for the end of a line from its beginning each time.
final class ReplyParser {
  private var reader: UnsafeMutablePointer<redisReader>
  private var bytesSinceReply = 0
  /// How many of them have been looked at, and whether it is worth to look again.
  private var bytesLookedAt = 0
  private var isWorthLooking = false

  /// How the reader makes its objects, and behind that how hiredis would.
  private let functions = UnsafeMutablePointer<redisReplyObjectFunctions>.allocate(capacity: 2)

  init() {
    reader = ReplyParser.makeReader()
    functions.initialize(repeating: reader.pointee.fn.pointee, count: 2)
    functions.pointee.createArray = { task, count in
      // For one that claims to be longer than any answer is, there is no memory.
      guard let task, count <= Limits.replyElementsMax, let functions = task.pointee.privdata else { return nil }
      return functions.assumingMemoryBound(to: redisReplyObjectFunctions.self)[1].createArray(task, count)
    }
    prepareReader()
  }

  private static func makeReader() -> UnsafeMutablePointer<redisReader> {
    guard let reader = redisReaderCreate() else { fatalError("out of memory for a reply parser") }
    return reader
  }

  private func prepareReader() {
    reader.pointee.fn = functions
    reader.pointee.privdata = UnsafeMutableRawPointer(functions)
  }

  deinit {
    redisReaderFree(reader)
    functions.deallocate()
  }

  /// Takes a copy of what was received.
  func feed(_ bytes: UnsafeRawBufferPointer) {
    bytesSinceReply += bytes.count
    if bytesSinceReply >= 2 * bytesLookedAt || bytes.contains(0x0A) { isWorthLooking = true }
    // A failure stays in the reader and is told by `next`.
    _ = redisReaderFeed(reader, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), bytes.count)
  }

  /// The next whole answer, nil if there is none yet.
  func next() throws(RedisError) -> RedisValue? {
    guard isWorthLooking else {
      if bytesSinceReply > Limits.replyBytesMax { throw .malformedReply }
      return nil
    }
    var raw: UnsafeMutableRawPointer?
    guard redisReaderGetReply(reader, &raw) == REDIS_OK else { throw .malformedReply }
    guard let raw else {
      if bytesSinceReply > Limits.replyBytesMax { throw .malformedReply }
      isWorthLooking = false
      bytesLookedAt = bytesSinceReply
      return nil
    }
    defer { freeReplyObject(raw) }
    // The reader keeps room for the largest answer until the next one comes, which may be long.
    if bytesSinceReply > Limits.readerKeptBytes, reader.pointee.pos == reader.pointee.len {
      redisReaderFree(reader)
      reader = ReplyParser.makeReader()
      prepareReader()
    }
    bytesSinceReply = 0
    bytesLookedAt = 0
    return value(raw.assumingMemoryBound(to: redisReply.self).pointee)
  }

  private func value(_ reply: redisReply) -> RedisValue {
    switch reply.type {
    case REDIS_REPLY_STRING: return .string(bytes(reply))
    case REDIS_REPLY_STATUS: return .status(String(decoding: bytes(reply), as: UTF8.self))
    case REDIS_REPLY_ERROR: return .error(String(decoding: bytes(reply), as: UTF8.self))
    case REDIS_REPLY_INTEGER: return .integer(reply.integer)
    case REDIS_REPLY_ARRAY:
      let elements = UnsafeBufferPointer(start: reply.element, count: Int(reply.elements))
      return .array(elements.compactMap { $0.map { value($0.pointee) } })
    default: return .null
    }
  }

  private func bytes(_ reply: redisReply) -> [UInt8] {
    Array(UnsafeRawBufferPointer(start: reply.str, count: Int(reply.len)))
  }
}

/// The wire form of a command.
enum CommandFormatter {
  /// Calls `body` with `arguments` as the server reads them; the bytes are valid only inside it.
  static func format<R>(_ arguments: [[UInt8]], _ body: (UnsafeRawBufferPointer) -> R) -> R {
    precondition(!arguments.isEmpty, "a command has a name")
    let lengths = arguments.map(\.count)
    var target: UnsafeMutablePointer<CChar>?
    // The arguments stand one behind the other while hiredis reads them through pointers.
    let joined = Array(arguments.joined())
    let length = joined.withUnsafeBytes { all -> CInt in
      let start = all.baseAddress ?? UnsafeRawPointer(bitPattern: 1)!
      var pointers: [UnsafePointer<CChar>?] = []
      var offset = 0
      for count in lengths {
        pointers.append((start + offset).assumingMemoryBound(to: CChar.self))
        offset += count
      }
      return redisFormatCommandArgv(&target, CInt(arguments.count), &pointers, lengths)
    }
    guard length > 0, let target else { fatalError("out of memory for a command") }
    defer { redisFreeCommand(target) }
    return body(UnsafeRawBufferPointer(start: target, count: Int(length)))
  }
}
