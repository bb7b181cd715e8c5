//! Chain, Signer, outbox, circuit breaker and tool ports, each as pure state machines and object-safe traits.
