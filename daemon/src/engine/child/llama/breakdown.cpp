// llama.cpp tells the sizes of its buffers only through a C++ map. This makes calls of it.
//
// The declarations are those of src/llama-ext.h in the llama.cpp that Cargo.toml pins; the header is not installed. A test
// compares what comes out with the real memory of a loaded model.

#include <cstddef>
#include <cstdint>
#include <map>

struct llama_context;
struct ggml_backend_buffer_type;
typedef ggml_backend_buffer_type * ggml_backend_buffer_type_t;

struct llama_memory_breakdown_data {
    size_t model   = 0;
    size_t context = 0;
    size_t compute = 0;
};

using llama_memory_breakdown = std::map<ggml_backend_buffer_type_t, llama_memory_breakdown_data>;

llama_memory_breakdown llama_get_memory_breakdown(const struct llama_context * ctx);

extern "C" {

const char * ggml_backend_buft_name(ggml_backend_buffer_type_t buft);
bool ggml_backend_buft_is_host(ggml_backend_buffer_type_t buft);

typedef void (*promptd_each)(const char * name, bool host, uint64_t model, uint64_t context, uint64_t compute, void * user);

bool promptd_memory_breakdown(const struct llama_context * ctx, promptd_each each, void * user) noexcept {
    try {
        for (const auto & [buft, data] : llama_get_memory_breakdown(ctx)) {
            each(ggml_backend_buft_name(buft), ggml_backend_buft_is_host(buft), data.model, data.context, data.compute, user);
        }
        return true;
    } catch (...) {
        return false;
    }
}

}
