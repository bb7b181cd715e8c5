//! Tools an agent may use: the allow-listed HTTP client.
