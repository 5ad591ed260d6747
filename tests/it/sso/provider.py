"""A provider of single sign-on on another implementation of JOSE: keys, discovery, and a token for each algorithm."""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA", "Ed25519"]


def generate(algorithm):
    named = {"kid": f"key-{algorithm}", "alg": algorithm, "use": "sig"}
    if algorithm.startswith("ES"):
        return ECKey.generate_key({"ES256": "P-256", "ES384": "P-384"}[algorithm], named)
    if algorithm.startswith("Ed"):
        return OKPKey.generate_key("Ed25519", named)
    return RSAKey.generate_key(2048, named)


keys = {algorithm: generate(algorithm) for algorithm in ALGORITHMS}


class Provider(BaseHTTPRequestHandler):
    def do_GET(self):
        documents = {
            "/.well-known/openid-configuration": {"issuer": issuer, "jwks_uri": f"{issuer}/keys"},
            "/keys": KeySet(list(keys.values())).as_dict(private=False),
        }
        body = json.dumps(documents[self.path]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
issuer = f"http://127.0.0.1:{server.server_port}"
now = int(time.time())
claims = {"iss": issuer, "aud": "callvault", "sub": "anna", "iat": now, "nbf": now, "exp": now + 300}
tokens = {
    algorithm: jwt.encode(
        {"typ": "at+jwt", "alg": algorithm, "kid": key.kid}, claims | {"scope": "callvault:read"}, key, algorithms=ALGORITHMS
    )
    for algorithm, key in keys.items()
}
print(json.dumps({"issuer": issuer, "tokens": tokens}), flush=True)
server.serve_forever()
