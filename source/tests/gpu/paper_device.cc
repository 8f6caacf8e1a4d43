// SPDX-License-Identifier: BSD-3-Clause
// A device of TensorFlow of type GPU (a plugin in the sense of tensorflow/c/experimental/
// stream_executor) whose memory is that of paper_memory.h. It knows no kernels: TensorFlow places
// on it what is registered for GPUs, and the rest on the processor.
#include <cstdlib>
#include <cstring>

#include "paper_memory.h"
#include "tensorflow/c/experimental/stream_executor/stream_executor.h"

using deepmd::paper::on_host;

// Everything is done when it is asked for, so that streams, events and timers hold nothing.
struct SP_Stream_st {
  int unused;
};
struct SP_Event_st {
  int unused;
};
struct SP_Timer_st {
  int unused;
};

namespace {

void good(TF_Status* status) { TF_SetStatus(status, TF_OK, ""); }

void allocate(const SP_Device*, uint64_t size, int64_t, SP_DeviceMemoryBase* memory) {
  memory->struct_size = SP_DEVICE_MEMORY_BASE_STRUCT_SIZE;
  memory->opaque = deepmd::paper::allocate(size);
  memory->size = memory->opaque == nullptr ? 0 : size;
}
void deallocate(const SP_Device*, SP_DeviceMemoryBase* memory) {
  deepmd::paper::release(memory->opaque);
  memory->opaque = nullptr;
  memory->size = 0;
}
void* host_allocate(const SP_Device*, uint64_t size) {
  return std::aligned_alloc(256, (size + 255) / 256 * 256);
}
void host_deallocate(const SP_Device*, void* memory) { std::free(memory); }
TF_Bool allocator_stats(const SP_Device*, SP_AllocatorStats*) { return 0; }
TF_Bool memory_usage(const SP_Device*, int64_t* free, int64_t* total) {
  *total = static_cast<int64_t>(deepmd::paper::capacity());
  *free = *total - static_cast<int64_t>(deepmd::paper::used());
  return 1;
}

template <typename Handle, typename Struct>
void create(const SP_Device*, Handle* handle, TF_Status* status) {
  *handle = new Struct{0};
  good(status);
}
template <typename Handle>
void destroy(const SP_Device*, Handle handle) {
  delete handle;
}

void wait_for_stream(const SP_Device*, SP_Stream, SP_Stream, TF_Status* status) { good(status); }
void stream_status(const SP_Device*, SP_Stream, TF_Status* status) { good(status); }
SE_EventStatus event_status(const SP_Device*, SP_Event) { return SE_EVENT_COMPLETE; }
void record_event(const SP_Device*, SP_Stream, SP_Event, TF_Status* status) { good(status); }
void wait_for_event(const SP_Device* const, SP_Stream, SP_Event, TF_Status* status) {
  good(status);
}
void timer(const SP_Device*, SP_Stream, SP_Timer, TF_Status* status) { good(status); }
void block_for_event(const SP_Device*, SP_Event, TF_Status* status) { good(status); }
void block_until_done(const SP_Device*, SP_Stream, TF_Status* status) { good(status); }
void synchronize(const SP_Device*, TF_Status* status) { good(status); }
uint64_t nanoseconds(SP_Timer) { return 0; }

void to_host(const SP_Device*, SP_Stream, void* to, const SP_DeviceMemoryBase* from, uint64_t size,
             TF_Status* status) {
  std::memcpy(to, on_host(from->opaque), size);
  good(status);
}
void to_device(const SP_Device*, SP_Stream, SP_DeviceMemoryBase* to, const void* from,
               uint64_t size, TF_Status* status) {
  std::memcpy(on_host(to->opaque), from, size);
  good(status);
}
void on_device(const SP_Device*, SP_Stream, SP_DeviceMemoryBase* to,
               const SP_DeviceMemoryBase* from, uint64_t size, TF_Status* status) {
  std::memcpy(on_host(to->opaque), on_host(from->opaque), size);
  good(status);
}
void to_host_now(const SP_Device* device, void* to, const SP_DeviceMemoryBase* from, uint64_t size,
                 TF_Status* status) {
  to_host(device, nullptr, to, from, size, status);
}
void to_device_now(const SP_Device* device, SP_DeviceMemoryBase* to, const void* from,
                   uint64_t size, TF_Status* status) {
  to_device(device, nullptr, to, from, size, status);
}
void on_device_now(const SP_Device* device, SP_DeviceMemoryBase* to,
                   const SP_DeviceMemoryBase* from, uint64_t size, TF_Status* status) {
  on_device(device, nullptr, to, from, size, status);
}
void fill(const SP_Device*, SP_Stream, SP_DeviceMemoryBase* memory, uint8_t value, uint64_t size,
          TF_Status* status) {
  std::memset(on_host(memory->opaque), value, size);
  good(status);
}
void zero(const SP_Device* device, SP_Stream stream, SP_DeviceMemoryBase* memory, uint64_t size,
          TF_Status* status) {
  fill(device, stream, memory, 0, size, status);
}
void fill_words(const SP_Device*, SP_Stream, SP_DeviceMemoryBase* memory, uint32_t value,
                uint64_t size, TF_Status* status) {
  auto* words = static_cast<uint32_t*>(on_host(memory->opaque));
  for (uint64_t i = 0; i < size / 4; ++i) words[i] = value;
  good(status);
}
TF_Bool callback(const SP_Device*, SP_Stream, SE_StatusCallbackFn function, void* argument) {
  TF_Status* status = TF_NewStatus();
  function(argument, status);
  TF_DeleteStatus(status);
  return 1;
}

void device_count(const SP_Platform*, int* count, TF_Status* status) {
  *count = 1;
  good(status);
}
void create_device(const SP_Platform*, SE_CreateDeviceParams* params, TF_Status* status) {
  params->device->struct_size = SP_DEVICE_STRUCT_SIZE;
  params->device->hardware_name = "paper";
  good(status);
}
void destroy_device(const SP_Platform*, SP_Device*) {}
int32_t numa_node(const SP_Device*) { return 0; }
int64_t bandwidth(const SP_Device*) { return 0; }
double gflops(const SP_Device*) { return 0; }
void create_device_functions(const SP_Platform*, SE_CreateDeviceFnsParams* params,
                             TF_Status* status) {
  params->device_fns->get_numa_node = numa_node;
  params->device_fns->get_memory_bandwidth = bandwidth;
  params->device_fns->get_gflops = gflops;
  good(status);
}
void destroy_device_functions(const SP_Platform*, SP_DeviceFns*) {}

void create_executor(const SP_Platform*, SE_CreateStreamExecutorParams* params, TF_Status* status) {
  SP_StreamExecutor* e = params->stream_executor;
  e->struct_size = SP_STREAMEXECUTOR_STRUCT_SIZE;
  e->allocate = allocate;
  e->deallocate = deallocate;
  e->host_memory_allocate = host_allocate;
  e->host_memory_deallocate = host_deallocate;
  e->get_allocator_stats = allocator_stats;
  e->device_memory_usage = memory_usage;
  e->create_stream = create<SP_Stream, SP_Stream_st>;
  e->destroy_stream = destroy<SP_Stream>;
  e->create_stream_dependency = wait_for_stream;
  e->get_stream_status = stream_status;
  e->create_event = create<SP_Event, SP_Event_st>;
  e->destroy_event = destroy<SP_Event>;
  e->get_event_status = event_status;
  e->record_event = record_event;
  e->wait_for_event = wait_for_event;
  e->create_timer = create<SP_Timer, SP_Timer_st>;
  e->destroy_timer = destroy<SP_Timer>;
  e->start_timer = timer;
  e->stop_timer = timer;
  e->memcpy_dtoh = to_host;
  e->memcpy_htod = to_device;
  e->memcpy_dtod = on_device;
  e->sync_memcpy_dtoh = to_host_now;
  e->sync_memcpy_htod = to_device_now;
  e->sync_memcpy_dtod = on_device_now;
  e->block_host_for_event = block_for_event;
  e->block_host_until_done = block_until_done;
  e->synchronize_all_activity = synchronize;
  e->mem_zero = zero;
  e->memset = fill;
  e->memset32 = fill_words;
  e->host_callback = callback;
  good(status);
}
void destroy_executor(const SP_Platform*, SP_StreamExecutor*) {}
void create_timer_functions(const SP_Platform*, SP_TimerFns* functions, TF_Status* status) {
  functions->nanoseconds = nanoseconds;
  good(status);
}
void destroy_timer_functions(const SP_Platform*, SP_TimerFns*) {}
void destroy_platform(SP_Platform*) {}
void destroy_platform_functions(SP_PlatformFns*) {}

}  // namespace

extern "C" void SE_InitPlugin(SE_PlatformRegistrationParams* const params,
                              TF_Status* const status) {
  SP_Platform* platform = params->platform;
  platform->struct_size = SP_PLATFORM_STRUCT_SIZE;
  platform->name = "PAPER";
  platform->type = "GPU";
  platform->supports_unified_memory = 0;
  platform->use_bfc_allocator = 0;
  SP_PlatformFns* functions = params->platform_fns;
  functions->get_device_count = device_count;
  functions->create_device = create_device;
  functions->destroy_device = destroy_device;
  functions->create_device_fns = create_device_functions;
  functions->destroy_device_fns = destroy_device_functions;
  functions->create_stream_executor = create_executor;
  functions->destroy_stream_executor = destroy_executor;
  functions->create_timer_fns = create_timer_functions;
  functions->destroy_timer_fns = destroy_timer_functions;
  params->destroy_platform = destroy_platform;
  params->destroy_platform_fns = destroy_platform_functions;
  good(status);
}
extern "C" void TF_InitKernel() {}
