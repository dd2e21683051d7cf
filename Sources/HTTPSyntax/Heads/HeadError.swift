/// Why a message was refused while it was read. Everything that two readers of RFC 9112 could understand differently
/// is here: what is ambiguous is never repaired.
public enum HeadError: UInt8, Error, Sendable, CaseIterable {
  // The start line.
  case invalidStartLine, invalidMethod, invalidTarget, unsupportedVersion, connectRefused, requestLineTooLong
  // Lines and fields.
  case bareLineFeed, bareCarriageReturn, foldedLine, emptyFieldName, invalidFieldName, spaceBeforeColon
  case invalidFieldValue, headTooLarge, tooManyFields
  // What the fields mean.
  case missingHost, repeatedHost, invalidHost, invalidConnection, unsupportedExpectation
  // Framing.
  case repeatedContentLength, invalidContentLength, contentLengthWithTransferEncoding
  case unsupportedTransferCoding, chunkedNotLast, transferEncodingInOldVersion
  case invalidChunkSize, invalidChunkExtension, missingChunkEnd, invalidTrailer, trailerTooLarge

  /// The status that answers a request refused for this reason (RFC 9110 §15).
  public var status: Int {
    switch self {
    case .requestLineTooLong: 414
    case .unsupportedExpectation: 417
    case .headTooLarge, .tooManyFields: 431
    case .connectRefused, .unsupportedTransferCoding: 501
    case .unsupportedVersion: 505
    default: 400
    }
  }

  /// One sentence for the sender.
  public var explanation: StaticString {
    switch self {
    case .invalidStartLine: "the start line is malformed"
    case .invalidMethod: "the method is not a token"
    case .invalidTarget: "the request target is malformed"
    case .unsupportedVersion: "only HTTP/1.0 and HTTP/1.1 are spoken here"
    case .connectRefused: "CONNECT is not offered here"
    case .requestLineTooLong: "the request line is too long"
    case .bareLineFeed: "a line ends without a carriage return"
    case .bareCarriageReturn: "a carriage return stands alone"
    case .foldedLine: "a field is folded over several lines"
    case .emptyFieldName: "a field has no name"
    case .invalidFieldName: "a field name is not a token"
    case .spaceBeforeColon: "white space stands before a colon"
    case .invalidFieldValue: "a field value holds a control character"
    case .headTooLarge: "the head is too large"
    case .tooManyFields: "the head has too many fields"
    case .missingHost: "the Host field is missing"
    case .repeatedHost: "the Host field is repeated"
    case .invalidHost: "the host is malformed"
    case .invalidConnection: "the Connection field is malformed"
    case .unsupportedExpectation: "only the expectation 100-continue is known"
    case .repeatedContentLength: "Content-Length is repeated"
    case .invalidContentLength: "Content-Length is not a number"
    case .contentLengthWithTransferEncoding: "Content-Length and Transfer-Encoding exclude each other"
    case .unsupportedTransferCoding: "the only transfer coding known is chunked"
    case .chunkedNotLast: "chunked must be the last transfer coding, and stand once"
    case .transferEncodingInOldVersion: "HTTP/1.0 has no Transfer-Encoding"
    case .invalidChunkSize: "a chunk size is malformed"
    case .invalidChunkExtension: "a chunk extension is malformed or too long"
    case .missingChunkEnd: "a chunk does not end where its size says"
    case .invalidTrailer: "a trailer field is malformed"
    case .trailerTooLarge: "the trailer section is too large"
    }
  }
}
