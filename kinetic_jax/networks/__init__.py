"""Networks for velocity fields, in Flax NNX."""

from kinetic_jax.networks._authors import load_authors_checkpoint as load_authors_checkpoint
from kinetic_jax.networks._classifier import ImageClassifier as ImageClassifier
from kinetic_jax.networks._mixer import PatchMixer as PatchMixer
from kinetic_jax.networks._mlp import ResidualMLP as ResidualMLP
from kinetic_jax.networks._network_field import NetworkField as NetworkField
from kinetic_jax.networks._network_field import network_field as network_field
from kinetic_jax.networks._spec import Scaling as Scaling
from kinetic_jax.networks._unet import AUTHORS_UNET as AUTHORS_UNET
from kinetic_jax.networks._unet import UNet as UNet
