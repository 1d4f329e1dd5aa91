"""The retrieval tutorial of TensorFlow Recommenders, as printed, on integer ids.

https://www.tensorflow.org/recommenders/examples/basic_retrieval: MovieLens 100K, a user and a title embedding of 32
dimensions, Adagrad 0.1, three epochs, a random 80/20 split, titles already seen kept in the ranking.
"""

from __future__ import annotations

from recbatch.contracts import Int32s

DIM = 32
EPOCHS = 3
LEARNING_RATE = 0.1
TRAIN_BATCH = 8192
TEST_BATCH = 4096


def tutorial(
    train_users: Int32s,
    train_items: Int32s,
    test_users: Int32s,
    test_items: Int32s,
    *,
    num_users: int,
    num_items: int,
    seed: int = 42,
) -> dict[int, float]:
    """Trains the tutorial's model and measures its factorized top-k accuracy.

    Args:
        train_users: shape (n,), user positions of the training events, in random order; likewise `train_items`.
        train_items: shape (n,), title positions.
        test_users: shape (m,), of the held-out events.
        test_items: shape (m,).
        num_users: users of the data set.
        num_items: titles of the data set, the candidates.
        seed: of weights and shuffling.

    Returns:
        k → share of held-out events whose title is among the k best, for k in 1, 5, 10, 50, 100. The tutorial prints
        .0008, .0099, .0226, .1245 and .2324.
    """
    from recbatch.model import id_towers  # loads TensorFlow

    tf = id_towers.tf
    tf.keras.utils.set_random_seed(seed)
    model = id_towers.IdTowers(num_users, num_items, DIM)
    model.compile(optimizer=tf.keras.optimizers.legacy.Adagrad(LEARNING_RATE))
    train = tf.data.Dataset.from_tensor_slices({"user": train_users, "title": train_items})
    test = tf.data.Dataset.from_tensor_slices({"user": test_users, "title": test_items})
    # cached before shuffling, so that every epoch sees another order
    train = train.cache().shuffle(100_000, seed=seed).batch(TRAIN_BATCH)
    model.fit(train, epochs=EPOCHS, verbose=0)
    measured = model.evaluate(test.batch(TEST_BATCH), return_dict=True, verbose=0)
    prefix = "factorized_top_k/top_"
    found = {int(k.removeprefix(prefix).split("_")[0]): float(v) for k, v in measured.items() if k.startswith(prefix)}
    return dict(sorted(found.items()))
