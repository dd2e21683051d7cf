#include <openssl/opensslv.h>
/* Before 3.0.3 EVP_MAC_init without a key does not begin anew, and every code after the first would be wrong. */
#if OPENSSL_VERSION_NUMBER < 0x30000030L
#error "OpenSSL 3.0.3 or later is needed"
#endif
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/md5.h>
#include <openssl/crypto.h>
