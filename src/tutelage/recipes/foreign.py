"""Words that users know from elsewhere and that a recipe does not have: what to write instead.

A word of `transformers.TrainingArguments` is never accepted and ignored: it is implemented, or it is
here. Where the list is silent, `instead` says so in general.
"""

import re

INSTEAD: dict[str, str] = {
    # where the run lives
    "output_dir": "write `out:` at the top of the recipe",
    "overwrite_output_dir": "delete the folder, or choose another `out:`; a run never writes over another",
    "resume_from_checkpoint": "leave it out; the same command goes on from the last checkpoint by itself",
    "run_name": "leave it out; a run is called after the folder in `out:`",
    "project": "leave it out; a run is called after the folder in `out:`",
    "seed": "write `seed:` at the top of the recipe",
    "data_seed": "write `seed:` at the top of the recipe; it seeds the order of the data too",
    "full_determinism": "leave it out; a run repeats bit for bit on one machine",
    "ignore_data_skip": "leave it out; a resumed run goes on with the text that comes next",
    # optimiser and schedule
    "optim": "leave it out; the optimiser is AdamW",
    "optim_args": "leave it out; AdamW has `adam_beta1`, `adam_beta2` and `adam_epsilon`",
    "lr_scheduler_kwargs": "leave it out; `lr_scheduler_type` and the warm-up say it all",
    "label_smoothing_factor": "leave it out; a teacher's distribution does what smoothing is for",
    "neftune_noise_alpha": "leave it out",
    # precision and memory
    "fp16": "write `bf16: true`",
    "fp16_full_eval": "leave it out; evaluation computes like training",
    "bf16_full_eval": "leave it out; evaluation computes like training",
    "tf32": "leave it out, or set it through torch in a script of your own",
    "activation_checkpointing": "write `gradient_checkpointing: true`",
    "activation_checkpointing_kwargs": "write `gradient_checkpointing: true`; it has no options",
    "gradient_checkpointing_kwargs": "write `gradient_checkpointing: true`; it has no options",
    "auto_find_batch_size": "run `tutelage check`, which estimates the memory of a step",
    "torch_compile": "leave it out; the loss is evaluated in slices already",
    "use_liger_kernel": "leave it out; the loss is evaluated in slices already",
    # when
    "logging_strategy": "write `logging_steps:`",
    "logging_first_step": "write `logging_steps: 1` to log every step",
    "eval_strategy": "write `eval_steps:`",
    "evaluation_strategy": "write `eval_steps:`",
    "eval_on_start": "leave it out; the untouched student is always measured",
    "save_strategy": "write `save_steps:`",
    "save_only_model": "leave it out; a checkpoint holds what resuming needs",
    "save_safetensors": "leave it out; weights are always safetensors",
    "load_best_model_at_end": "leave it out; the student of the last step is saved",
    "metric_for_best_model": "leave it out; the student of the last step is saved",
    "greater_is_better": "leave it out; the student of the last step is saved",
    "disable_tqdm": "leave it out; where there is no terminal there is no bar",
    "log_level": "leave it out",
    # evaluation and data
    "per_device_eval_batch_size": "write it under `evaluation:`",
    "per_gpu_train_batch_size": "write `per_device_train_batch_size:`",
    "per_gpu_eval_batch_size": "write `per_device_eval_batch_size:` under `evaluation:`",
    "data": "write it under `samples:`",
    "max_length": "write it under `samples:`",
    "max_seq_length": "write `max_length:` under `samples:`",
    "remove_unused_columns": "leave it out; columns are named under `samples:`",
    "dataloader_num_workers": "leave it out; text is tokenised as it is needed",
    "dataloader_drop_last": "leave it out; every row is used",
    # other machines and services
    "use_cpu": "leave it out; start with `CUDA_VISIBLE_DEVICES=` empty to hide a GPU",
    "no_cuda": "leave it out; start with `CUDA_VISIBLE_DEVICES=` empty to hide a GPU",
    "deepspeed": "leave it out; `torchrun` starts several processes, and weights are not sharded yet",
    "fsdp": "leave it out; `torchrun` starts several processes, and weights are not sharded yet",
    "fsdp_config": "leave it out; `torchrun` starts several processes, and weights are not sharded yet",
    "push_to_hub": "upload the folder `student/` when the run has ended",
    "hub_model_id": "upload the folder `student/` when the run has ended",
    "hub_token": "upload the folder `student/` when the run has ended; a recipe holds no secrets",
    "do_train": "write `tutelage run`",
    "do_eval": "write `tutelage evaluate`",
    # words of other trainers
    "temperature": "write it beside the divergence: `divergence: {kind: forward_kl, temperature: 2.0}`",
    "alpha": "write the weights of an `objective:` of two terms",
    "beta": "write it beside the divergence: `divergence: {kind: jensen_shannon, beta: 0.5}`",
    "lmbda": "say whose text it is with `samples:`",
    "teacher_model_name_or_path": "write `teacher:` at the top of the recipe",
    "model_name_or_path": "write `student:` at the top of the recipe",
}

OTHERS = frozenset(
    re.findall(
        r"\w+",
        """
        optim_target_modules average_tokens_across_devices torch_compile_backend torch_compile_mode
        liger_kernel_config use_cache torch_empty_cache_steps log_on_each_node logging_nan_inf_filter
        include_num_input_tokens_seen log_level_replica trackio_space_id trackio_bucket_id
        trackio_static_space_id eval_delay prediction_loss_only eval_do_concat_batches
        eval_use_gather_object eval_accumulation_steps include_for_metrics batch_eval_metrics
        save_on_each_node enable_jit_checkpoint hub_private_repo hub_strategy hub_always_push hub_revision
        restore_callback_states_from_checkpoint accelerator_config parallelism_config dataloader_pin_memory
        dataloader_persistent_workers dataloader_prefetch_factor dataloader_multiprocessing_context
        dataloader_in_order label_names train_sampling_strategy length_column_name
        ddp_find_unused_parameters ddp_bucket_cap_mb ddp_broadcast_buffers ddp_static_graph ddp_backend
        ddp_timeout debug skip_memory_metrics do_predict local_rank group_by_length jit_mode_eval
        torchdynamo ray_scope past_index
        """,
    )
)
"""Further words of `TrainingArguments` that have no counterpart here."""


def instead(key: str) -> str | None:
    """What to do about a word that is known from elsewhere, or None if it is known from nowhere."""
    return INSTEAD.get(key) or ("leave it out; nothing here corresponds to it" if key in OTHERS else None)
