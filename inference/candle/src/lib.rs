//! Models on candle: GGUF llama-family generation and safetensors BERT embedding.
