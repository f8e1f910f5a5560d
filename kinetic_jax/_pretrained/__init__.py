"""Small pretrained models included in the package."""

from kinetic_jax._pretrained._load import MODELS as MODELS
from kinetic_jax._pretrained._load import pretrained as pretrained
from kinetic_jax._pretrained._load import pretrained_classifier as pretrained_classifier
from kinetic_jax._pretrained._load import pretrained_steps as pretrained_steps
from kinetic_jax._pretrained._pack import read_about as read_about
from kinetic_jax._pretrained._pack import read_classifier as read_classifier
from kinetic_jax._pretrained._pack import read_field as read_field
from kinetic_jax._pretrained._pack import write_classifier as write_classifier
from kinetic_jax._pretrained._pack import write_field as write_field
